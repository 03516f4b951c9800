-- Update existing rows from the stage's newer measurements, by the law. If every pattern has a row, `upsert_patterns`
-- would cost several times as much. A row that is deleted in between stays deleted. Sorted, so that writers never
-- deadlock.
UPDATE pattern_quality_metrics AS present SET
    event_id = stage.event_id,
    quality_score = stage.quality_score,
    confidence = stage.confidence,
    measurement_timestamp = stage.measurement_timestamp,
    version = stage.version,
    metadata = stage.metadata,
    updated_at = now()
FROM (SELECT * FROM pattern_metrics_stage ORDER BY pattern_id) AS stage
WHERE present.pattern_id = stage.pattern_id
  AND pattern_metrics_supersedes(
      stage.measurement_timestamp, stage.event_id, present.measurement_timestamp, present.event_id
  )
