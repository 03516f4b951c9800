-- The whole table, with the columns that show whether a row was written since (xmin, updated_at).
SELECT pattern_id, quality_score, measurement_timestamp, metadata ->> 'name' AS name, updated_at, xmin::text
FROM pattern_quality_metrics
ORDER BY quality_score DESC, name
