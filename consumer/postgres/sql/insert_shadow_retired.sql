-- Copy the retired patterns among those of a batch into the shadow. A pattern that has a row there keeps it.
INSERT INTO pattern_quality_retired
SELECT recorded.* FROM recorded_retired AS recorded JOIN pattern_metrics_stage USING (pattern_id)
WHERE pattern_id NOT IN (SELECT pattern_id FROM shadow_patterns JOIN pattern_metrics_stage USING (pattern_id))
ON CONFLICT (pattern_id) DO NOTHING
