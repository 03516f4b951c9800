-- A page of open dead letters without their bytes, the newest first, of one reason ($3) and detail ($4), or of all; from a
-- percentage of the blocks.
SELECT row_to_json(page)::text AS shown, noticed_at, topic, partition, "offset"::bigint, record_timestamp::bigint
FROM (
    SELECT topic, partition, "offset"::text, record_timestamp::text, reason, left(detail, 500) AS detail, noticed_at,
           octet_length(value) AS bytes
    FROM dead_letters TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
    WHERE status = 'open'
      AND ($3::text IS NULL OR reason = $3)
      AND ($4::text IS NULL OR left(detail, 500) = $4)
      AND ($5::timestamptz IS NULL OR (noticed_at, topic, partition, "offset", record_timestamp)
           < ($5, $6::text, $7::integer, $8::bigint, $9::bigint))
    ORDER BY noticed_at DESC, topic DESC, partition DESC, dead_letters."offset" DESC, dead_letters.record_timestamp DESC
    LIMIT $10
) AS page
