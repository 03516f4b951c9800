-- 019: the topic id of the progress. A topic that is recreated under the same name has another id.
-- Apply by hand, after 018: psql -v ON_ERROR_STOP=1 -f 019_add_topic_id_of_progress.sql
-- Safe to repeat: it changes nothing if its work is done. A worker of an earlier release still runs. Progress without
-- an id counts as progress in the present topic.

\ir ../patiently.sql

CALL pattern_metrics_patiently('ALTER TABLE ingest_progress ADD COLUMN IF NOT EXISTS topic_id uuid');

COMMENT ON COLUMN ingest_progress.topic_id IS
    'The ID that Kafka gave the topic (KIP-516), null where it is not known: a topic that is recreated has another ID.';

DROP PROCEDURE pattern_metrics_patiently(text);
