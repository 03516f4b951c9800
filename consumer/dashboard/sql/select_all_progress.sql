-- How far each group has written each partition; the groups that wrote last come first.
SELECT consumer_group, topic, partition, next_offset, extract(epoch FROM updated_at)::double precision AS updated_at
FROM ingest_progress
ORDER BY max(updated_at) OVER (PARTITION BY consumer_group, topic) DESC, consumer_group, topic, partition
LIMIT 1000
