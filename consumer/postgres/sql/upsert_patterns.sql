-- Merge the stage into the table: a newer measurement supersedes the row of its pattern, or brings a retired pattern back.
-- The joins leave out superseded rows, which then cost no WAL (a conflict would lock the row). The condition on the
-- conflict decides again, on the row at that time. A measurement that is older than the retirement, and newer than the
-- last row that is kept with the retirement, takes the place of that last row. Sorted, so that writers never deadlock.
WITH staged AS (
    SELECT * FROM pattern_metrics_stage WHERE place BETWEEN $1 AND $2
), revived AS (
    DELETE FROM pattern_quality_retired AS retired USING staged
    WHERE retired.pattern_id = staged.pattern_id
      AND pattern_metrics_supersedes(
          staged.measurement_timestamp, staged.event_id, retired.retired_at, retired.event_id
      )
), late AS (
    UPDATE pattern_quality_retired AS retired SET
        last_event_id = staged.event_id,
        quality_score = staged.quality_score,
        confidence = staged.confidence,
        measurement_timestamp = staged.measurement_timestamp,
        version = staged.version,
        metadata = staged.metadata
    FROM staged
    WHERE retired.pattern_id = staged.pattern_id
      AND NOT pattern_metrics_supersedes(
          staged.measurement_timestamp, staged.event_id, retired.retired_at, retired.event_id
      )
      AND pattern_metrics_supersedes(
          staged.measurement_timestamp, staged.event_id, retired.measurement_timestamp, retired.last_event_id
      )
)
INSERT INTO pattern_quality_metrics AS present
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT pattern_id, staged.event_id, staged.quality_score, staged.confidence,
       staged.measurement_timestamp, staged.version, staged.metadata
FROM staged
LEFT JOIN pattern_quality_metrics AS existing USING (pattern_id)
LEFT JOIN pattern_quality_retired AS retired USING (pattern_id)
WHERE (existing.pattern_id IS NULL
       OR pattern_metrics_supersedes(
           staged.measurement_timestamp, staged.event_id, existing.measurement_timestamp, existing.event_id
       ))
  AND (retired.pattern_id IS NULL
       OR pattern_metrics_supersedes(
           staged.measurement_timestamp, staged.event_id, retired.retired_at, retired.event_id
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
