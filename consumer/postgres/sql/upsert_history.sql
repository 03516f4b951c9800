-- Keep the events of the stage. Of two events of a pattern with the same time, the greater event id stays. An event that
-- is already kept costs no WAL. Sorted, so that writers never deadlock.
INSERT INTO pattern_quality_history AS present
    (pattern_id, measurement_timestamp, event_id, quality_score, confidence, version, metadata, reason)
SELECT pattern_id, measurement_timestamp, stage.event_id, stage.quality_score, stage.confidence,
       stage.version, stage.metadata, stage.reason
FROM pattern_metrics_stage AS stage
LEFT JOIN pattern_quality_history AS existing USING (pattern_id, measurement_timestamp)
WHERE stage.place BETWEEN $1 AND $2
  AND (existing.pattern_id IS NULL
       OR pattern_metrics_supersedes(
           measurement_timestamp, stage.event_id, measurement_timestamp, existing.event_id
       ))
ORDER BY pattern_id, measurement_timestamp
ON CONFLICT (pattern_id, measurement_timestamp) DO UPDATE SET
    event_id = EXCLUDED.event_id,
    quality_score = EXCLUDED.quality_score,
    confidence = EXCLUDED.confidence,
    version = EXCLUDED.version,
    metadata = EXCLUDED.metadata,
    reason = EXCLUDED.reason
WHERE pattern_metrics_supersedes(
    EXCLUDED.measurement_timestamp, EXCLUDED.event_id, present.measurement_timestamp, present.event_id
)
