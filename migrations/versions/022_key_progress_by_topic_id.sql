-- 022: keys progress and gaps by the topic's ID, so that two clusters with one topic name, or a topic that is recreated,
-- never overwrite each other. Progress gets the leader epoch (KIP-320), and a gap its reason.
-- Apply by hand, after 021: psql -v ON_ERROR_STOP=1 -f 022_key_progress_by_topic_id.sql
-- Safe to repeat: it changes nothing if its work is done. The tables have a few rows, so the locks are brief.
-- A worker of an earlier release writes on until its group rebalances. Then it waits, not ready, until it is replaced.
-- The worker of this release needs the revision.
\ir ../patiently.sql

DO $$
DECLARE
    relation regclass;
    columns text;
    changes text;
    former name;
BEGIN
    FOR relation, columns, changes IN
        VALUES
            (
                'ingest_progress'::regclass, 'consumer_group, topic, topic_id, partition',
                -- Until here NULL stood for a broker that gives topics no ID.
                $changes$
                    ALTER TABLE ingest_progress ADD COLUMN IF NOT EXISTS leader_epoch integer;
                    UPDATE ingest_progress SET topic_id = '00000000-0000-0000-0000-000000000000' WHERE topic_id IS NULL;
                    ALTER TABLE ingest_progress
                        ALTER COLUMN topic_id SET DEFAULT '00000000-0000-0000-0000-000000000000',
                        ALTER COLUMN topic_id SET NOT NULL;
                $changes$
            ),
            (
                'ingest_gaps'::regclass, 'consumer_group, topic, topic_id, partition, first_offset',
                $changes$
                    ALTER TABLE ingest_gaps
                        ADD COLUMN IF NOT EXISTS topic_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
                        ADD COLUMN IF NOT EXISTS reason text NOT NULL DEFAULT 'retention';
                $changes$
            )
    LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
            WHERE conrelid = relation AND contype = 'p' AND attname = 'topic_id');
        SELECT conname INTO former FROM pg_constraint WHERE conrelid = relation AND contype = 'p';
        CALL pattern_metrics_patiently(concat(
            changes, 'ALTER TABLE ', relation, format(' DROP CONSTRAINT %I,', former), ' ADD PRIMARY KEY (', columns, ')'));
    END LOOP;
END
$$;

COMMENT ON COLUMN ingest_progress.topic_id IS
    'The ID that Kafka gave the topic (KIP-516), zeros where the broker gives none. A topic that is recreated, and a topic of another cluster, has another ID.';
COMMENT ON COLUMN ingest_progress.leader_epoch IS
    'The leader epoch of the last record below next_offset (KIP-320), null where it is not known.';
COMMENT ON TABLE ingest_gaps IS 'Offsets of the topic that were not read, or whose records the topic has lost.';
COMMENT ON COLUMN ingest_gaps.topic_id IS 'The ID of the topic, as in ingest_progress; zeros where it is not known.';
COMMENT ON COLUMN ingest_gaps.reason IS
    'retention: removed before it was read; truncation: the log was cut back there; skipped: a person decided to, and why.';

DROP PROCEDURE pattern_metrics_patiently(text);
