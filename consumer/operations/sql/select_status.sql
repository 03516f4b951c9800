-- The database's part of `status`, for one group and its topics.
SELECT
    (SELECT count(*) FROM pattern_quality_metrics) AS patterns,
    (SELECT count(*) FROM pattern_quality_retired) AS retired,
    (SELECT max(updated_at) FROM pattern_quality_metrics) AS last_write,
    (SELECT coalesce(jsonb_object_agg(reason, letters), '{}')
     FROM (SELECT reason, count(*) AS letters FROM dead_letters WHERE status = 'open' GROUP BY reason) AS counted
    ) AS dead_letters,
    (SELECT coalesce(jsonb_object_agg(reason, gaps), '{}')
     FROM (
         SELECT reason, count(*) AS gaps FROM ingest_gaps
         WHERE consumer_group = $1 AND topic = ANY ($2::text[]) GROUP BY reason
     ) AS counted) AS gaps,
    (SELECT coalesce(sum(last_offset - first_offset + 1), 0)
     FROM ingest_gaps WHERE consumer_group = $1 AND topic = ANY ($2::text[])) AS gap_offsets
