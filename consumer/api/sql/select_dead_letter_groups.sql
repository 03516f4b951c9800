-- The open dead letters that have reason and detail in common, the largest groups first, and the coordinates of a group's only
-- letter; in a percentage of the blocks.
SELECT
    reason, left(detail, 500) AS detail, count(*) AS letters,
    extract(epoch FROM min(noticed_at))::double precision AS oldest,
    extract(epoch FROM max(noticed_at))::double precision AS newest,
    CASE WHEN count(*) = 1 AND $1 = 100 THEN json_build_object(
        'topic', min(topic), 'partition', min(partition),
        'offset', min("offset")::text, 'record_timestamp', min(record_timestamp)::text
    ) END::text AS letter
FROM dead_letters TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
WHERE status = 'open'
GROUP BY reason, left(detail, 500)
ORDER BY letters DESC, newest DESC, reason, left(detail, 500)
LIMIT 100
