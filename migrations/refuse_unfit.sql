-- Refuses a table of one of our names whose columns do not fit, before anything is changed. The revisions that create
-- tables include this file. A missing table fits, and so does one without a column that a revision adds.
DO $$
DECLARE
    problems text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('pattern_quality_metrics')) <> 'r' THEN
        RAISE EXCEPTION 'the existing pattern_quality_metrics is a partitioned table or a view, which is not supported'
            USING ERRCODE = 'wrong_object_type',
                HINT = 'Rename it, repeat the migration, and copy its rows into the new table.';
    END IF;

    SELECT string_agg(
        format('%s.%I must be %s and is %s', relation, needed.name, needed.type,
               coalesce(format_type(present.atttypid, present.atttypmod), 'missing')),
        '; ')
    INTO problems
    FROM (VALUES
        ('pattern_quality_metrics', 'id', 'uuid', true),
        ('pattern_quality_metrics', 'pattern_id', 'uuid', false),
        ('pattern_quality_metrics', 'quality_score', 'double precision', false),
        ('pattern_quality_metrics', 'confidence', 'double precision', false),
        ('pattern_quality_metrics', 'measurement_timestamp', 'timestamp with time zone', true),
        ('pattern_quality_metrics', 'version', 'text', true),
        ('pattern_quality_metrics', 'metadata', 'jsonb', true),
        ('pattern_quality_metrics', 'created_at', 'timestamp with time zone', true),
        ('pattern_quality_metrics', 'updated_at', 'timestamp with time zone', true),
        ('pattern_quality_metrics', 'event_id', 'uuid', true),
        ('ingest_progress', 'consumer_group', 'text', false),
        ('ingest_progress', 'topic', 'text', false),
        ('ingest_progress', 'partition', 'integer', false),
        ('ingest_progress', 'next_offset', 'bigint', false),
        ('ingest_progress', 'updated_at', 'timestamp with time zone', false),
        ('ingest_gaps', 'consumer_group', 'text', false),
        ('ingest_gaps', 'topic', 'text', false),
        ('ingest_gaps', 'partition', 'integer', false),
        ('ingest_gaps', 'first_offset', 'bigint', false),
        ('ingest_gaps', 'last_offset', 'bigint', false),
        ('ingest_gaps', 'noticed_at', 'timestamp with time zone', false),
        ('dead_letters', 'topic', 'text', false),
        ('dead_letters', 'partition', 'integer', false),
        ('dead_letters', 'offset', 'bigint', false),
        ('dead_letters', 'record_timestamp', 'bigint', false),
        ('dead_letters', 'key', 'bytea', false),
        ('dead_letters', 'value', 'bytea', false),
        ('dead_letters', 'headers', 'jsonb', false),
        ('dead_letters', 'reason', 'text', false),
        ('dead_letters', 'detail', 'text', false),
        ('dead_letters', 'noticed_at', 'timestamp with time zone', false),
        ('pattern_quality_history', 'pattern_id', 'uuid', false),
        ('pattern_quality_history', 'measurement_timestamp', 'timestamp with time zone', false),
        ('pattern_quality_history', 'event_id', 'uuid', false),
        ('pattern_quality_history', 'quality_score', 'double precision', false),
        ('pattern_quality_history', 'confidence', 'double precision', false),
        ('pattern_quality_history', 'version', 'text', false),
        ('pattern_quality_history', 'metadata', 'jsonb', false),
        ('pattern_quality_history', 'created_at', 'timestamp with time zone', false)
    ) AS needed (relation, name, type, may_be_missing)
    JOIN pg_class ON pg_class.oid = to_regclass(needed.relation)
    LEFT JOIN pg_attribute AS present
        ON present.attrelid = pg_class.oid AND present.attname = needed.name AND NOT present.attisdropped
    WHERE present.atttypid <> needed.type::regtype OR present.atttypid IS NULL AND NOT may_be_missing;

    problems := concat_ws('; ', problems, (
        SELECT string_agg(
            format('%s.%I must be nullable or have a default, as nothing fills it', attrelid::regclass, attname), '; ')
        FROM pg_attribute
        WHERE attrelid IN (to_regclass('ingest_progress'), to_regclass('ingest_gaps'), to_regclass('dead_letters'))
            AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = ''
            AND attname NOT IN ('consumer_group', 'topic', 'partition', 'next_offset', 'first_offset', 'last_offset',
                'offset', 'record_timestamp', 'reason', 'detail')
    ), (
        SELECT 'pattern_quality_history must have UNIQUE (pattern_id, measurement_timestamp)'
        WHERE to_regclass('pattern_quality_history') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = to_regclass('pattern_quality_history')
                AND pg_get_constraintdef(oid) = 'UNIQUE (pattern_id, measurement_timestamp)')
    ));

    IF problems <> '' THEN
        RAISE EXCEPTION 'an existing table does not fit: %', problems
            USING ERRCODE = 'invalid_table_definition',
                HINT = 'Alter these columns, or rename the table; then repeat the migration.';
    END IF;
END
$$;
