-- Copy the present rows of a batch's patterns into the shadow, with the values of identity columns. A pattern that is
-- retired there stays so.
INSERT INTO shadow_patterns OVERRIDING SYSTEM VALUE
SELECT recorded.* FROM recorded_patterns AS recorded JOIN pattern_metrics_stage USING (pattern_id)
WHERE pattern_id NOT IN (SELECT pattern_id FROM pattern_quality_retired)
ON CONFLICT (pattern_id) DO NOTHING
