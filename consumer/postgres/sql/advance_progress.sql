-- Move progress past a batch, but only if the database has everything below the batch's start. A database that went back
-- in time (restored, failed over with loss) returns fewer rows, and the batch is rolled back.
UPDATE ingest_progress AS progress
SET next_offset = greatest(progress.next_offset, batch.end_offset),
    leader_epoch = CASE
        WHEN batch.end_offset > progress.next_offset THEN batch.leader_epoch ELSE progress.leader_epoch
    END,
    updated_at = now()
FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::uuid[], $7::integer[])
    AS batch (topic, partition, start_offset, end_offset, topic_id, leader_epoch)
WHERE progress.consumer_group = $1
  AND progress.topic = batch.topic
  AND progress.partition = batch.partition
  AND progress.topic_id = batch.topic_id
  AND progress.next_offset >= batch.start_offset
RETURNING progress.partition
