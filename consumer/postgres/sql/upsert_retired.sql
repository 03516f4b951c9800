-- Retire the patterns of the stage: the row moves to the retired patterns, where a newer retirement supersedes an older one.
-- If the pattern's row is newer than the retirement, nothing changes. `set_writer_lock` excludes all other writers. Workers
-- of a release without retirements take no such lock: a row that they wrote beside the retirement is removed here too.
WITH staged AS (
    SELECT * FROM pattern_metrics_stage WHERE place BETWEEN $1 AND $2
), removed AS (
    DELETE FROM pattern_quality_metrics AS present USING staged
    WHERE present.pattern_id = staged.pattern_id
      AND pattern_metrics_supersedes(
          staged.measurement_timestamp, staged.event_id, present.measurement_timestamp, present.event_id
      )
    RETURNING present.pattern_id, present.event_id, present.quality_score, present.confidence,
        present.measurement_timestamp, present.version, present.metadata
)
INSERT INTO pattern_quality_retired AS retired
    (pattern_id, event_id, retired_at, reason, retirement_metadata,
     last_event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT pattern_id, staged.event_id, staged.measurement_timestamp, staged.reason, staged.metadata,
       last.event_id, last.quality_score, last.confidence, last.measurement_timestamp, last.version, last.metadata
FROM staged
LEFT JOIN pattern_quality_metrics AS present USING (pattern_id)
LEFT JOIN removed AS last USING (pattern_id)
LEFT JOIN pattern_quality_retired AS existing USING (pattern_id)
WHERE (present.pattern_id IS NULL OR last.pattern_id IS NOT NULL)
  AND (existing.pattern_id IS NULL
       OR pattern_metrics_supersedes(
           staged.measurement_timestamp, staged.event_id, existing.retired_at, existing.event_id
       ))
ORDER BY pattern_id
ON CONFLICT (pattern_id) DO UPDATE SET
    event_id = EXCLUDED.event_id,
    retired_at = EXCLUDED.retired_at,
    reason = EXCLUDED.reason,
    retirement_metadata = EXCLUDED.retirement_metadata,
    updated_at = now()
