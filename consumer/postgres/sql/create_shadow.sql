-- A second table with the same name in the connection's own temporary schema, so that the statements of the law work on
-- it unchanged. The views were created before it, and still refer to the public tables.
CREATE TEMPORARY VIEW recorded_dead_letters AS SELECT * FROM dead_letters;
CREATE TEMPORARY TABLE dead_letters (LIKE dead_letters INCLUDING ALL);

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

-- The differences between the fold of the topic (the shadow) and the table.
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
            WHEN (recorded.quality_score, recorded.confidence, recorded.version, recorded.metadata)
                IS DISTINCT FROM (fold.quality_score, fold.confidence, fold.version, fold.metadata)
                THEN 'different'
        END AS finding
    FROM pattern_quality_metrics AS fold
    FULL JOIN recorded_patterns AS recorded USING (pattern_id)
) AS comparison
WHERE finding IS NOT NULL;
