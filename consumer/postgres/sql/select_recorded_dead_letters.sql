-- The records among these that became dead letters when they were read, and were not stored since.
SELECT letter.partition, letter."offset"
FROM recorded_dead_letters AS letter
JOIN unnest($2::integer[], $3::bigint[], $4::bigint[]) AS record (partition, "offset", record_timestamp)
    USING (partition, "offset", record_timestamp)
WHERE letter.topic = $1
  AND letter.status <> 'redriven'
