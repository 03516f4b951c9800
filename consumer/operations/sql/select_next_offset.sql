-- The next offset of a group in a partition of a topic, if the group has progress there.
SELECT next_offset FROM ingest_progress
WHERE consumer_group = $1 AND topic = $2 AND topic_id = $3 AND partition = $4
