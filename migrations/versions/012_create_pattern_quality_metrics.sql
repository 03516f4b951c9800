-- 012: the table of measurements, one row per pattern from 014 on.
-- Apply by hand: psql -v ON_ERROR_STOP=1 -f 012_create_pattern_quality_metrics.sql
-- Safe to repeat. A table that is there already is left as it is; only its columns are checked.

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

DO $$
DECLARE
    problems text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'pattern_quality_metrics'::regclass) <> 'r' THEN
        RAISE EXCEPTION 'the pattern_quality_metrics that is here already is partitioned, or a view: not supported'
            USING ERRCODE = 'wrong_object_type',
                HINT = 'Rename it out of the way; then repeat, and copy its rows into the table that is made.';
    END IF;

    SELECT string_agg(
        format('%I must be %s and is %s', needed.name, needed.type,
               coalesce(format_type(present.atttypid, present.atttypmod), 'missing')),
        '; ')
    INTO problems
    FROM (VALUES
        ('id', 'uuid'),
        ('pattern_id', 'uuid'),
        ('quality_score', 'double precision'),
        ('confidence', 'double precision'),
        ('measurement_timestamp', 'timestamp with time zone'),
        ('version', 'text'),
        ('metadata', 'jsonb'),
        ('created_at', 'timestamp with time zone'),
        ('updated_at', 'timestamp with time zone')
    ) AS needed (name, type)
    LEFT JOIN pg_attribute AS present
        ON present.attrelid = 'pattern_quality_metrics'::regclass
        AND present.attname = needed.name
        AND NOT present.attisdropped
    WHERE present.atttypid IS DISTINCT FROM needed.type::regtype;

    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'the table pattern_quality_metrics that is here already does not fit: %', problems
            USING ERRCODE = 'invalid_table_definition',
                HINT = 'Alter these columns, or rename that table out of the way; then repeat.';
    END IF;

    IF obj_description('pattern_quality_metrics'::regclass, 'pg_class') IS NULL THEN
        COMMENT ON TABLE pattern_quality_metrics IS
            'The latest measurement of each pattern; from revision 014 on there is one row per pattern.';
    END IF;
END
$$;
