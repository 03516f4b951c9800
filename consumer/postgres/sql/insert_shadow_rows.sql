-- Bring the rows that a batch may change into the shadow, as they are by now; an identity is copied, not made anew.
INSERT INTO shadow_patterns OVERRIDING SYSTEM VALUE
SELECT recorded.* FROM recorded_patterns AS recorded JOIN pattern_metrics_stage USING (pattern_id)
ON CONFLICT (pattern_id) DO NOTHING
