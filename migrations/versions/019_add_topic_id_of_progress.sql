-- 019: in which topic the progress was made, of all that ever had its name.
-- Apply by hand, after 018: psql -v ON_ERROR_STOP=1 -f 019_add_topic_id_of_progress.sql
-- Safe to repeat: it changes nothing where its work is done. A worker of an earlier release goes on; progress
-- without an ID is taken for that of the topic that is there.

\ir ../patiently.sql

CALL pattern_metrics_patiently('ALTER TABLE ingest_progress ADD COLUMN IF NOT EXISTS topic_id uuid');

COMMENT ON COLUMN ingest_progress.topic_id IS
    'The ID that Kafka gave the topic (KIP-516), null where it is not known: a topic made anew has another one.';

DROP PROCEDURE pattern_metrics_patiently(text);
