-- Merge the stage into the table: a newer measurement supersedes the row of its pattern. The join leaves out superseded
-- rows, which then cost no WAL (a conflict would lock the row). The condition on the conflict decides again, on the row
-- at that time. Sorted, so that writers never deadlock.
INSERT INTO pattern_quality_metrics AS present
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT pattern_id, stage.event_id, stage.quality_score, stage.confidence,
       stage.measurement_timestamp, stage.version, stage.metadata
FROM pattern_metrics_stage AS stage
LEFT JOIN pattern_quality_metrics AS existing USING (pattern_id)
WHERE stage.place BETWEEN $1 AND $2
  AND (existing.pattern_id IS NULL
       OR pattern_metrics_supersedes(
           stage.measurement_timestamp, stage.event_id, existing.measurement_timestamp, existing.event_id
       ))
ORDER BY pattern_id
ON CONFLICT (pattern_id) DO UPDATE SET
    event_id = EXCLUDED.event_id,
    quality_score = EXCLUDED.quality_score,
    confidence = EXCLUDED.confidence,
    measurement_timestamp = EXCLUDED.measurement_timestamp,
    version = EXCLUDED.version,
    metadata = EXCLUDED.metadata,
    updated_at = now()
WHERE pattern_metrics_supersedes(
    EXCLUDED.measurement_timestamp, EXCLUDED.event_id, present.measurement_timestamp, present.event_id
)
