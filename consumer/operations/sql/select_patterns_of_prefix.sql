-- The patterns whose name begins with this text.
SELECT pattern_id, metadata ->> 'name' AS name
FROM pattern_quality_metrics
WHERE starts_with(metadata ->> 'name', $1)
ORDER BY 2
