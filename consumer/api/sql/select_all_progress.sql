-- The progress of each group in each partition; the groups that wrote last come first. If several topics have one name
-- (recreated, or of another cluster), only the progress in the topic that was written last.
SELECT consumer_group, topic, partition, next_offset, extract(epoch FROM updated_at)::double precision AS updated_at
FROM (
    SELECT DISTINCT ON (consumer_group, topic, partition) *
    FROM ingest_progress
    ORDER BY consumer_group, topic, partition, updated_at DESC
) AS latest
ORDER BY max(updated_at) OVER (PARTITION BY consumer_group, topic) DESC, consumer_group, topic, partition
LIMIT 1000
