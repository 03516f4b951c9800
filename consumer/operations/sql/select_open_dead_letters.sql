-- Which records of a stretch of a partition are open dead letters.
SELECT "offset", record_timestamp FROM dead_letters
WHERE topic = $1 AND partition = $2 AND "offset" BETWEEN $3 AND $4 AND status = 'open'
