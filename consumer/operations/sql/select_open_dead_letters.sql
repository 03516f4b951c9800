-- The open dead letters in a range of offsets of a partition.
SELECT "offset", record_timestamp FROM dead_letters
WHERE topic = $1 AND partition = $2 AND "offset" BETWEEN $3 AND $4 AND status = 'open'
