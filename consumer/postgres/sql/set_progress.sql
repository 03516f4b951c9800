-- Say where reading starts, before it does, and in which of all topics that ever had this name.
INSERT INTO ingest_progress AS progress (consumer_group, topic, partition, next_offset, topic_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE
SET next_offset = EXCLUDED.next_offset, topic_id = coalesce(EXCLUDED.topic_id, progress.topic_id), updated_at = now()
WHERE progress.next_offset <> EXCLUDED.next_offset
    OR progress.topic_id IS DISTINCT FROM coalesce(EXCLUDED.topic_id, progress.topic_id)
