-- Record where reading starts, before it starts. The ID distinguishes the topics that have, or had, this name.
INSERT INTO ingest_progress AS progress (consumer_group, topic, partition, next_offset, topic_id, leader_epoch)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (consumer_group, topic, topic_id, partition) DO UPDATE
SET next_offset = EXCLUDED.next_offset, leader_epoch = EXCLUDED.leader_epoch, updated_at = now()
WHERE (progress.next_offset, progress.leader_epoch) IS DISTINCT FROM (EXCLUDED.next_offset, EXCLUDED.leader_epoch)
