-- The number of retired patterns.
SELECT count(*) FROM pattern_quality_retired
