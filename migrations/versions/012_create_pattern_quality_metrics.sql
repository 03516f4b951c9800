-- 012: the table of measurements, one row per pattern from 014 on.
-- Apply by hand: psql -v ON_ERROR_STOP=1 -f 012_create_pattern_quality_metrics.sql
-- Safe to repeat, also after an interruption. An existing table keeps its rows and its other columns, and gets the
-- missing columns, defaults and primary key. Readers and writers keep working during the migration.
\ir ../refuse_unfit.sql
\ir ../patiently.sql

CREATE TABLE IF NOT EXISTS pattern_quality_metrics (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pattern_id uuid NOT NULL,
    quality_score double precision NOT NULL
        CONSTRAINT pattern_quality_metrics_quality_score_check CHECK (quality_score >= 0 AND quality_score <= 1),
    confidence double precision NOT NULL
        CONSTRAINT pattern_quality_metrics_confidence_check CHECK (confidence >= 0 AND confidence <= 1),
    measurement_timestamp timestamptz NOT NULL DEFAULT now(),
    version text DEFAULT '1.0.0',
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

-- Columns and defaults. Each change is to the catalog only, so no row is read or rewritten.
DO $$
DECLARE
    changes text;
BEGIN
    SELECT string_agg(
        concat_ws(', ',
            CASE WHEN attname IS NULL THEN format('ADD COLUMN %I %s', name, concat_ws(' DEFAULT ', type, old_rows)) END,
            format('ALTER COLUMN %I SET DEFAULT %s', name, new_rows)),
        ', ')
    INTO changes
    FROM (VALUES
        ('id', 'uuid', 'gen_random_uuid()', NULL), -- old rows get theirs below
        -- A row without a time is older than every event.
        ('measurement_timestamp', 'timestamptz', 'now()', '''epoch'' NOT NULL'),
        ('version', 'text', '''1.0.0''', '''1.0.0'''),
        ('metadata', 'jsonb', '''{}''', '''{}'''),
        ('created_at', 'timestamptz', 'now()', 'now()'),
        ('updated_at', 'timestamptz', 'now()', 'now()')
    ) AS needed (name, type, new_rows, old_rows)
    LEFT JOIN pg_attribute
        ON attrelid = 'pattern_quality_metrics'::regclass AND attname = needed.name AND NOT attisdropped
    WHERE atthasdef IS NOT TRUE AND coalesce(attidentity, '') = '';

    IF changes IS NOT NULL THEN
        RAISE NOTICE 'taken over pattern_quality_metrics: %', changes;
        CALL pattern_metrics_patiently('ALTER TABLE pattern_quality_metrics ' || changes);
    END IF;

    IF obj_description('pattern_quality_metrics'::regclass, 'pg_class') IS NULL THEN
        COMMENT ON TABLE pattern_quality_metrics IS
            'The latest measurement of each pattern; from revision 014 on there is one row per pattern.';
    END IF;
END
$$;

-- The ids of rows from before there were ids, in portions of 1,000 pages.
DO $$
DECLARE
    pages_done bigint := 0;
    pages bigint;
BEGIN
    LOOP
        EXIT WHEN (
            SELECT attnotnull FROM pg_attribute
            WHERE attrelid = 'pattern_quality_metrics'::regclass AND attname = 'id');
        pages := pg_relation_size('pattern_quality_metrics') / current_setting('block_size')::bigint;
        EXIT WHEN pages_done >= pages;
        UPDATE pattern_quality_metrics SET id = gen_random_uuid()
        WHERE id IS NULL
            AND ctid >= format('(%s,0)', pages_done)::tid AND ctid < format('(%s,0)', pages_done + 1000)::tid;
        COMMIT;
        pages_done := pages_done + 1000;
    END LOOP;
END
$$;

-- The primary key, if there is none: its index is built concurrently, and then attached. A table whose ids are not
-- unique gets no primary key; the worker does not need one.
SELECT 'DROP INDEX CONCURRENTLY pattern_quality_metrics_pkey'
FROM pg_index
WHERE indexrelid = to_regclass('pattern_quality_metrics_pkey') AND NOT indisvalid
\gexec

SELECT 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS pattern_quality_metrics_pkey ON pattern_quality_metrics (id)'
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'pattern_quality_metrics'::regclass AND contype = 'p')
    AND NOT EXISTS (SELECT FROM pattern_quality_metrics GROUP BY id HAVING count(*) > 1 OR id IS NULL)
\gexec

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'pattern_quality_metrics'::regclass AND contype = 'p') THEN
        RETURN;
    ELSIF to_regclass('pattern_quality_metrics_pkey') IS NULL THEN
        RAISE WARNING 'pattern_quality_metrics has no primary key, as its ids are not unique';
        RETURN;
    END IF;
    -- Without this proof the primary key would search the table for nulls, and lock it for that time.
    CALL pattern_metrics_patiently(
        'ALTER TABLE pattern_quality_metrics DROP CONSTRAINT IF EXISTS pattern_quality_metrics_id_proof,
            ADD CONSTRAINT pattern_quality_metrics_id_proof CHECK (id IS NOT NULL) NOT VALID');
    ALTER TABLE pattern_quality_metrics VALIDATE CONSTRAINT pattern_quality_metrics_id_proof;
    COMMIT;
    CALL pattern_metrics_patiently(
        'ALTER TABLE pattern_quality_metrics ALTER COLUMN id SET NOT NULL;
        ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_id_proof,
            ADD CONSTRAINT pattern_quality_metrics_pkey PRIMARY KEY USING INDEX pattern_quality_metrics_pkey');
END
$$;

DROP PROCEDURE pattern_metrics_patiently(text);
