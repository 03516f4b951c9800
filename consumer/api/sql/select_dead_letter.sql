-- One dead letter, with at most this many bytes of its key and value.
SELECT topic, partition, "offset", record_timestamp, substring(key FOR $5::integer) AS key,
       substring(value FOR $5::integer) AS value, octet_length(key) AS key_bytes, octet_length(value) AS value_bytes,
       headers, reason, detail, noticed_at, status, resolved_at, resolution
FROM dead_letters
WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND record_timestamp = $4
