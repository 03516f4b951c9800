-- How many rows a pattern has.
SELECT count(*) FROM pattern_quality_metrics WHERE pattern_id = $1
