-- Which of these records were set aside when they were read, and not stored since.
SELECT letter.partition, letter."offset"
FROM recorded_dead_letters AS letter
JOIN unnest($2::integer[], $3::bigint[], $4::bigint[]) AS record (partition, "offset", record_timestamp)
    USING (partition, "offset", record_timestamp)
WHERE letter.topic = $1
  AND letter.status <> 'redriven'
