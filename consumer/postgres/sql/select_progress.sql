-- The database's progress in one topic, identified by its ID, for one group.
SELECT partition, next_offset, leader_epoch
FROM ingest_progress
WHERE consumer_group = $1 AND topic = $2 AND topic_id = $3
