-- Mark a selection as discarded. Rows are locked in the order of the key, so that two such statements never
-- deadlock.
WITH chosen AS (
    SELECT topic, partition, "offset", record_timestamp FROM dead_letters
    WHERE ($1::text IS NULL OR status = $1)
      AND ($2::text IS NULL OR reason = $2)
      AND ($3::text IS NULL OR topic = $3)
      AND ($4::timestamptz IS NULL OR noticed_at >= $4)
      AND ($5::text[] IS NULL OR (topic, partition, "offset") IN (
          SELECT * FROM unnest($5::text[], $6::integer[], $7::bigint[])
      ))
    ORDER BY topic, partition, "offset", record_timestamp
    FOR UPDATE
)
UPDATE dead_letters AS letter
SET status = 'discarded', resolved_at = now(), resolution = $8
FROM chosen
WHERE letter.topic = chosen.topic
  AND letter.partition = chosen.partition
  AND letter."offset" = chosen."offset"
  AND letter.record_timestamp = chosen.record_timestamp
