-- The next page of a selection, locked. Letters that another redrive has locked are skipped.
SELECT topic, partition, "offset", record_timestamp, key, value, headers FROM dead_letters
WHERE ($1::text IS NULL OR status = $1)
  AND ($2::text IS NULL OR reason = $2)
  AND ($3::text IS NULL OR topic = $3)
  AND ($4::timestamptz IS NULL OR noticed_at >= $4)
  AND ($5::text[] IS NULL OR (topic, partition, "offset") IN (
      SELECT * FROM unnest($5::text[], $6::integer[], $7::bigint[])
  ))
  AND (topic, partition, "offset", record_timestamp) > ($8, $9, $10, $11)
ORDER BY topic, partition, "offset", record_timestamp
LIMIT $12
FOR UPDATE SKIP LOCKED
