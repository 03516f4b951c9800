-- Down from 015. THIS DELETES the dead letters, the recorded gaps and the progress of every consumer group, and the
-- event id of each row. The measurements stay. Export the dead letters first if you need them; the rest is restored
-- when the topic is read again.

DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS ingest_gaps;
DROP TABLE IF EXISTS ingest_progress;

ALTER TABLE pattern_quality_metrics RESET (fillfactor);
ALTER TABLE pattern_quality_metrics DROP COLUMN IF EXISTS event_id;
