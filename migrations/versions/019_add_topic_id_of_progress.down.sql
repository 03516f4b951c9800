-- Down from 019: forgets in which topic the progress was made.

ALTER TABLE IF EXISTS ingest_progress DROP COLUMN IF EXISTS topic_id;
