-- A page of open dead letters without their bytes, the newest first.
SELECT row_to_json(page)::text AS shown, noticed_at, topic, partition, "offset"::bigint, record_timestamp::bigint
FROM (
    SELECT topic, partition, "offset"::text, record_timestamp::text, reason, left(detail, 500) AS detail, noticed_at,
           octet_length(value) AS bytes
    FROM dead_letters
    WHERE status = 'open'
      AND ($1::text IS NULL OR reason = $1)
      AND ($2::timestamptz IS NULL OR (noticed_at, topic, partition, "offset", record_timestamp)
           < ($2, $3::text, $4::integer, $5::bigint, $6::bigint))
    ORDER BY noticed_at DESC, topic DESC, partition DESC, dead_letters."offset" DESC, dead_letters.record_timestamp DESC
    LIMIT $7
) AS page
