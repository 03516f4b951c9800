-- The number of rows of a pattern.
SELECT count(*) FROM pattern_quality_metrics WHERE pattern_id = $1
