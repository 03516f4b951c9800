-- 015: the event that each row comes from, the progress of each partition, gaps, and dead letters.
-- Apply by hand, after 014: psql -v ON_ERROR_STOP=1 -f 015_add_event_identity_and_ingest_tables.sql
-- Safe to repeat: each statement changes nothing if its work is done.
\ir ../refuse_unfit.sql
\ir ../patiently.sql

-- A row written before events had ids counts as having the smallest id. The default is a constant, so the
-- table is not rewritten.
CALL pattern_metrics_patiently(
    'ALTER TABLE pattern_quality_metrics
        ADD COLUMN IF NOT EXISTS event_id uuid NOT NULL DEFAULT ''00000000-0000-0000-0000-000000000000''');

COMMENT ON COLUMN pattern_quality_metrics.event_id IS
    'The event that the row holds. Of two events of a pattern, the one with the greater (measurement_timestamp, event_id) wins.';

-- Half of each page stays free, so that a new version of a row fits beside the old one and no index changes
-- (a HOT update): measured, 840 instead of 1,150 bytes of WAL an update.
ALTER TABLE pattern_quality_metrics SET (fillfactor = 50);

CREATE TABLE IF NOT EXISTS ingest_progress (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL CONSTRAINT ingest_progress_next_offset_check CHECK (next_offset >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);

CREATE TABLE IF NOT EXISTS ingest_gaps (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition, first_offset),
    CONSTRAINT ingest_gaps_last_offset_check CHECK (last_offset >= first_offset)
);

-- Only the code checks the set of reasons, so that an older database accepts a newer reason.
CREATE TABLE IF NOT EXISTS dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_timestamp bigint NOT NULL,
    key bytea,
    value bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    reason text NOT NULL CONSTRAINT dead_letters_reason_check CHECK (length(reason) > 0),
    detail text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset", record_timestamp)
);

COMMENT ON TABLE ingest_progress IS
    'The progress of each consumer group in each partition. It is written in the same transaction as the rows.';
COMMENT ON COLUMN ingest_progress.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN ingest_progress.topic IS 'The topic that is read.';
COMMENT ON COLUMN ingest_progress.partition IS 'The partition of the topic.';
COMMENT ON COLUMN ingest_progress.next_offset IS 'The first offset that is not yet accounted for.';
COMMENT ON COLUMN ingest_progress.updated_at IS 'The time at which the row was last written.';

COMMENT ON TABLE ingest_gaps IS 'Offsets that retention removed from the topic before they were read.';
COMMENT ON COLUMN ingest_gaps.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN ingest_gaps.topic IS 'The topic that is read.';
COMMENT ON COLUMN ingest_gaps.partition IS 'The partition of the topic.';
COMMENT ON COLUMN ingest_gaps.first_offset IS 'The first offset that was not read.';
COMMENT ON COLUMN ingest_gaps.last_offset IS 'The last offset that was not read.';
COMMENT ON COLUMN ingest_gaps.noticed_at IS 'The time at which the worker noticed the gap.';

COMMENT ON TABLE dead_letters IS 'Records that could not be decoded or stored, with their exact bytes.';
COMMENT ON COLUMN dead_letters.topic IS 'The topic that held the record.';
COMMENT ON COLUMN dead_letters.partition IS 'The partition of the topic.';
COMMENT ON COLUMN dead_letters."offset" IS 'The offset of the record in its partition.';
COMMENT ON COLUMN dead_letters.record_timestamp IS
    'The timestamp of the record in milliseconds since the epoch as Kafka has it, -1 where it has none.';
COMMENT ON COLUMN dead_letters.key IS 'The bytes of the key; null if the record had no key.';
COMMENT ON COLUMN dead_letters.value IS 'The bytes of the value; null if the record had no value.';
COMMENT ON COLUMN dead_letters.headers IS 'The headers of the record, in their order.';
COMMENT ON COLUMN dead_letters.reason IS 'The reason for which the record was refused, one of a closed set of words.';
COMMENT ON COLUMN dead_letters.detail IS 'The exact fault, for a person.';
COMMENT ON COLUMN dead_letters.noticed_at IS 'The time at which the worker refused the record.';

DROP PROCEDURE pattern_metrics_patiently(text);
