-- How far the database is, for one group and topic.
SELECT partition, next_offset FROM ingest_progress WHERE consumer_group = $1 AND topic = $2
