-- The partitions for which the database knows another topic of this name, for one group. A topic without an ID cannot be
-- compared.
SELECT DISTINCT partition
FROM ingest_progress
WHERE consumer_group = $1 AND topic = $2 AND topic_id <> $3
    AND '00000000-0000-0000-0000-000000000000' NOT IN (topic_id, $3)
