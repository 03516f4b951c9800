-- Record offsets that are not read, and the reason. If the gap is noticed again, it grows and is not counted
-- twice.
INSERT INTO ingest_gaps AS gap (consumer_group, topic, topic_id, partition, first_offset, last_offset, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (consumer_group, topic, topic_id, partition, first_offset) DO UPDATE
SET last_offset = EXCLUDED.last_offset, reason = EXCLUDED.reason, noticed_at = now()
WHERE gap.last_offset < EXCLUDED.last_offset
