-- Copy the present rows of a batch's patterns into the shadow, with the values of identity columns.
INSERT INTO shadow_patterns OVERRIDING SYSTEM VALUE
SELECT recorded.* FROM recorded_patterns AS recorded JOIN pattern_metrics_stage USING (pattern_id)
ON CONFLICT (pattern_id) DO NOTHING
