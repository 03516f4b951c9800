-- Properties that the table must have, whatever the topic holds.
SELECT
    count(*) AS rows,
    count(DISTINCT pattern_id) AS patterns,
    count(*) FILTER (WHERE quality_score NOT BETWEEN 0 AND 1 OR confidence NOT BETWEEN 0 AND 1) AS out_of_range,
    EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'pattern_quality_metrics'::regclass AND contype = 'u' AND convalidated
          AND conname = 'pattern_quality_metrics_pattern_id_unique'
          AND pg_get_constraintdef(oid) = 'UNIQUE (pattern_id)'
    ) AS has_constraint
FROM pattern_quality_metrics
