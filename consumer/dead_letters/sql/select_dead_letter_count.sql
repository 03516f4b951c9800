-- The number of dead letters in a selection.
SELECT count(*) FROM dead_letters
WHERE ($1::text IS NULL OR status = $1)
  AND ($2::text IS NULL OR reason = $2)
  AND ($3::text IS NULL OR topic = $3)
  AND ($4::timestamptz IS NULL OR noticed_at >= $4)
  AND ($5::text[] IS NULL OR (topic, partition, "offset") IN (
      SELECT * FROM unnest($5::text[], $6::integer[], $7::bigint[])
  ))
