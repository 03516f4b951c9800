-- Move progress past a batch, only where the database has everything below the batch's start: a database that
-- went back in time (restored, failed over with loss) answers with fewer rows, and the batch is rolled back. It
-- may have gone back to another topic of this name, whose offsets say nothing of these.
UPDATE ingest_progress AS progress
SET next_offset = greatest(progress.next_offset, batch.end_offset), updated_at = now()
FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::uuid[])
    AS batch (topic, partition, start_offset, end_offset, topic_id)
WHERE progress.consumer_group = $1
  AND progress.topic = batch.topic
  AND progress.partition = batch.partition
  AND progress.next_offset >= batch.start_offset
  AND coalesce(progress.topic_id = batch.topic_id, true)
RETURNING progress.partition
