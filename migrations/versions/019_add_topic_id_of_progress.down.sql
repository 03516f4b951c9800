-- Down from 019: deletes the topic id of the progress.

ALTER TABLE IF EXISTS ingest_progress DROP COLUMN IF EXISTS topic_id;
