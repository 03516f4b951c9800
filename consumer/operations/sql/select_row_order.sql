-- The event that the current row of a pattern holds.
SELECT event_id, measurement_timestamp, updated_at FROM pattern_quality_metrics WHERE pattern_id = $1
