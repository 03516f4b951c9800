-- A second table with the same name in the connection's own temporary schema, so that the statements of the law work on
-- it unchanged. The views were created before it, and still refer to the public tables.
CREATE TEMPORARY VIEW recorded_dead_letters AS SELECT * FROM dead_letters;
CREATE TEMPORARY TABLE dead_letters (LIKE dead_letters INCLUDING ALL);

CREATE TEMPORARY VIEW recorded_retired AS SELECT * FROM pattern_quality_retired;
CREATE TEMPORARY TABLE pattern_quality_retired (LIKE pattern_quality_retired INCLUDING ALL);

-- Somebody may have added generated columns, which only PostgreSQL writes. So rows are copied without them,
-- from one view into another.
DO $$
DECLARE
    written text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO written
    FROM pg_attribute
    WHERE attrelid = 'pattern_quality_metrics'::regclass
        AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('CREATE TEMPORARY VIEW recorded_patterns AS SELECT %s FROM pattern_quality_metrics', written);
    CREATE TEMPORARY TABLE pattern_quality_metrics (LIKE pattern_quality_metrics INCLUDING ALL);
    EXECUTE format('CREATE TEMPORARY VIEW shadow_patterns AS SELECT %s FROM pattern_quality_metrics', written);
END
$$;

-- The state of each pattern: its row, or its retirement. The last row of a retired pattern is not compared, because it may
-- come from elsewhere than the topic.
CREATE TEMPORARY VIEW fold_states AS
SELECT pattern_id, measurement_timestamp, event_id, quality_score, confidence, version, metadata, NULL AS reason
FROM pattern_quality_metrics
UNION ALL
SELECT pattern_id, retired_at, event_id, NULL, NULL, NULL, retirement_metadata, reason
FROM pattern_quality_retired;
CREATE TEMPORARY VIEW recorded_states AS
SELECT pattern_id, measurement_timestamp, event_id, quality_score, confidence, version, metadata, NULL AS reason
FROM recorded_patterns
UNION ALL
SELECT pattern_id, retired_at, event_id, NULL, NULL, NULL, retirement_metadata, reason
FROM recorded_retired;

-- The differences between the fold of the topic (the shadow) and the tables.
CREATE TEMPORARY VIEW differences AS
SELECT * FROM (
    SELECT pattern_id,
        fold.measurement_timestamp AS fold_timestamp,
        recorded.measurement_timestamp AS row_timestamp,
        CASE
            WHEN recorded.pattern_id IS NULL THEN 'missing'
            WHEN fold.pattern_id IS NULL THEN 'absent_in_topic'
            WHEN pattern_metrics_supersedes(
                fold.measurement_timestamp, fold.event_id, recorded.measurement_timestamp, recorded.event_id
            ) THEN 'older'
            WHEN pattern_metrics_supersedes(
                recorded.measurement_timestamp, recorded.event_id, fold.measurement_timestamp, fold.event_id
            ) THEN 'newer'
            WHEN (recorded.quality_score, recorded.confidence, recorded.version, recorded.metadata, recorded.reason)
                IS DISTINCT FROM (fold.quality_score, fold.confidence, fold.version, fold.metadata, fold.reason)
                THEN 'different'
        END AS finding
    FROM fold_states AS fold
    FULL JOIN recorded_states AS recorded USING (pattern_id)
) AS comparison
WHERE finding IS NOT NULL;
