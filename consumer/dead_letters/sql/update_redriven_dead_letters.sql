-- Mark letters that were stored, or found superseded, in the same transaction.
UPDATE dead_letters AS letter
SET status = 'redriven', resolved_at = now()
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
    AS redriven (topic, partition, "offset", record_timestamp)
WHERE letter.topic = redriven.topic
  AND letter.partition = redriven.partition
  AND letter."offset" = redriven."offset"
  AND letter.record_timestamp = redriven.record_timestamp
