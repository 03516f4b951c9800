-- The retired patterns, each as the event that retired it, with the last row. `publish` and `backfill` read it back.
SELECT pattern_id::text, coalesce(metadata -> 'name', retirement_metadata -> 'name') AS name, retired_at, reason,
       event_id::text, retirement_metadata AS metadata,
       CASE WHEN last_event_id IS NOT NULL THEN jsonb_build_object(
           'event_id', last_event_id, 'quality_score', quality_score, 'confidence', confidence,
           'measurement_timestamp', measurement_timestamp, 'version', version, 'metadata', metadata
       ) END AS last_row,
       updated_at
FROM pattern_quality_retired AS retired
ORDER BY retired.pattern_id
