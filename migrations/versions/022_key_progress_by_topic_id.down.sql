-- Down from 022: keeps, of several topics of one name, the progress that was written last. A worker reads another topic
-- from its beginning. Of two gaps that begin at one offset it keeps the longer gap.

DELETE FROM ingest_progress AS progress
USING ingest_progress AS other
WHERE (progress.consumer_group, progress.topic, progress.partition)
        = (other.consumer_group, other.topic, other.partition)
    AND (progress.updated_at, progress.ctid) < (other.updated_at, other.ctid);
ALTER TABLE ingest_progress
    DROP CONSTRAINT IF EXISTS ingest_progress_pkey,
    ADD PRIMARY KEY (consumer_group, topic, partition),
    ALTER COLUMN topic_id DROP NOT NULL,
    ALTER COLUMN topic_id DROP DEFAULT,
    DROP COLUMN IF EXISTS leader_epoch;
UPDATE ingest_progress SET topic_id = NULL WHERE topic_id = '00000000-0000-0000-0000-000000000000';

DELETE FROM ingest_gaps AS gap
USING ingest_gaps AS other
WHERE (gap.consumer_group, gap.topic, gap.partition, gap.first_offset)
        = (other.consumer_group, other.topic, other.partition, other.first_offset)
    AND (gap.last_offset, gap.ctid) < (other.last_offset, other.ctid);
ALTER TABLE ingest_gaps
    DROP CONSTRAINT IF EXISTS ingest_gaps_pkey,
    DROP COLUMN IF EXISTS topic_id,
    DROP COLUMN IF EXISTS reason,
    ADD PRIMARY KEY (consumer_group, topic, partition, first_offset);

COMMENT ON COLUMN ingest_progress.topic_id IS
    'The ID that Kafka gave the topic (KIP-516), null where it is not known: a topic that is recreated has another ID.';
COMMENT ON TABLE ingest_gaps IS 'Offsets that retention removed from the topic before they were read.';
