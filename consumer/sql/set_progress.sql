-- Say where reading starts, before it does.
INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset)
VALUES ($1, $2, $3, $4)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE
SET next_offset = EXCLUDED.next_offset, updated_at = now()
WHERE ingest_progress.next_offset <> EXCLUDED.next_offset
