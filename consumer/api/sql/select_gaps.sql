-- The number of gaps, the number of their offsets, and the latest gaps.
SELECT
    count(*) AS gaps,
    coalesce(sum(last_offset - first_offset + 1), 0)::text AS offsets,
    (SELECT coalesce(json_agg(latest), '[]')::text
     FROM (
         SELECT consumer_group, topic, partition, first_offset::text, last_offset::text,
                (last_offset - first_offset + 1)::text AS offsets, noticed_at, reason
         FROM ingest_gaps
         ORDER BY noticed_at DESC
         LIMIT 100
     ) AS latest) AS latest
FROM ingest_gaps
