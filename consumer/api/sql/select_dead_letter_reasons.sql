-- The open dead letters by reason, and the time of the oldest; in a percentage of the blocks.
SELECT reason, count(*) AS letters, extract(epoch FROM min(noticed_at))::double precision AS oldest
FROM dead_letters TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
WHERE status = 'open'
GROUP BY reason
ORDER BY letters DESC, reason
LIMIT 100
