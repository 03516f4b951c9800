-- Record what retention removed before it was read; noticed again, a gap grows and is not counted twice.
INSERT INTO ingest_gaps AS gap (consumer_group, topic, partition, first_offset, last_offset)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (consumer_group, topic, partition, first_offset) DO UPDATE
SET last_offset = EXCLUDED.last_offset, noticed_at = now()
WHERE gap.last_offset < EXCLUDED.last_offset
