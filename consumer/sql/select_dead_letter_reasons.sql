-- How many dead letters are open by reason, and since when.
SELECT reason, count(*) AS letters, extract(epoch FROM min(noticed_at))::double precision AS oldest
FROM dead_letters
WHERE status = 'open'
GROUP BY reason
ORDER BY letters DESC, reason
