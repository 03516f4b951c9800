-- How far the database is, for one group and topic: 0 where it knows another topic of this name, by its ID.
SELECT partition, CASE WHEN topic_id <> $3 THEN 0 ELSE next_offset END AS next_offset
FROM ingest_progress
WHERE consumer_group = $1 AND topic = $2
