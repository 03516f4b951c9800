-- Down from 015. THIS DELETES the dead letters, the recorded gaps and the progress of every consumer group,
-- and forgets which event each row comes from. The measurements stay. Export the dead letters first if they
-- matter; the rest comes back when the topic is read again.

DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS ingest_gaps;
DROP TABLE IF EXISTS ingest_progress;

ALTER TABLE pattern_quality_metrics RESET (fillfactor);
ALTER TABLE pattern_quality_metrics DROP COLUMN IF EXISTS event_id;
