-- The greatest event of a pattern: its current row, or its retirement.
SELECT event_id, measurement_timestamp, updated_at FROM pattern_quality_metrics WHERE pattern_id = $1
UNION ALL
SELECT event_id, retired_at, updated_at FROM pattern_quality_retired WHERE pattern_id = $1
ORDER BY 2 DESC, 1 DESC
