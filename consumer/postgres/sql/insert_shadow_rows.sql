-- Bring the rows that a batch may change into the shadow, as they are by now.
INSERT INTO pattern_quality_metrics
SELECT recorded.* FROM recorded_patterns AS recorded JOIN pattern_metrics_stage USING (pattern_id)
ON CONFLICT (pattern_id) DO NOTHING
