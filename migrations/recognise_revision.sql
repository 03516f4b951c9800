-- The newest revision that is fully applied together with all earlier ones, whatever the stamp says; null if there is no
-- table yet.

SELECT CASE
    WHEN to_regclass('pattern_quality_metrics') IS NULL THEN NULL
    WHEN EXISTS (
        SELECT FROM pg_constraint AS found
        JOIN pg_attribute AS present
            ON present.attrelid = found.conrelid AND present.attnum = ANY (found.conkey)
        WHERE found.conrelid = to_regclass('pattern_quality_metrics')
            AND found.contype = 'f'
            AND present.attname = 'pattern_id'
    ) THEN '012'
    WHEN NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('pattern_quality_metrics')
            AND conname = 'pattern_quality_metrics_pattern_id_unique'
    ) THEN '013'
    WHEN num_nulls(to_regclass('ingest_progress'), to_regclass('ingest_gaps'), to_regclass('dead_letters')) > 0
        OR NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass('pattern_quality_metrics') AND attname = 'event_id' AND NOT attisdropped
        ) THEN '014'
    WHEN NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('dead_letters') AND conname = 'dead_letters_resolved_at_check'
    ) THEN '015'
    WHEN num_nulls(to_regclass('pattern_quality_history'), to_regclass('pattern_quality_changes')) > 0 THEN '016'
    WHEN to_regclass('pattern_quality_current') IS NULL THEN '017'
    WHEN NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('ingest_progress') AND attname = 'topic_id' AND NOT attisdropped
    ) THEN '018'
    WHEN num_nulls(
        to_regprocedure('pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)'),
        to_regprocedure('pattern_quality_band(double precision)')
    ) > 0 THEN '019'
    WHEN EXISTS (
        SELECT FROM pg_class AS published
        WHERE published.oid IN (
            to_regclass('pattern_quality_metrics'), to_regclass('pattern_quality_metrics_duplicates'),
            to_regclass('pattern_quality_history'), to_regclass('ingest_progress'), to_regclass('ingest_gaps'),
            to_regclass('dead_letters'))
            AND published.relreplident <> 'f'
            AND NOT EXISTS (
                SELECT FROM pg_index
                WHERE indrelid = published.oid AND indisvalid AND indimmediate
                    AND CASE published.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE false END)
    ) THEN '020'
    WHEN (
        SELECT count(*) FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
        WHERE conrelid IN (to_regclass('ingest_progress'), to_regclass('ingest_gaps'))
            AND contype = 'p' AND attname = 'topic_id'
    ) < 2 THEN '021'
    WHEN to_regclass('pattern_quality_retired') IS NULL OR NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('pattern_quality_history') AND attname = 'reason' AND NOT attisdropped
    ) THEN '022'
    ELSE '023'
END
