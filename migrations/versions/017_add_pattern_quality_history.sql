-- 017: every measurement of a pattern (if HISTORY_ENABLED is true), and the changes from one to the next.
-- Apply by hand, after 016: psql -v ON_ERROR_STOP=1 -f 017_add_pattern_quality_history.sql
-- Safe to repeat: it changes nothing if its work is done.

CREATE TABLE IF NOT EXISTS pattern_quality_history (
    pattern_id uuid NOT NULL,
    measurement_timestamp timestamptz NOT NULL,
    event_id uuid NOT NULL,
    quality_score double precision NOT NULL
        CONSTRAINT pattern_quality_history_quality_score_check CHECK (quality_score >= 0 AND quality_score <= 1),
    confidence double precision NOT NULL
        CONSTRAINT pattern_quality_history_confidence_check CHECK (confidence >= 0 AND confidence <= 1),
    version text NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pattern_quality_history_measurement_unique UNIQUE (pattern_id, measurement_timestamp)
);

-- An existing table of that name from elsewhere is left unchanged, and refused if it does not fit.
DO $$
DECLARE
    problems text;
BEGIN
    SELECT string_agg(
        format('%I must be %s and is %s', needed.name, needed.type,
               coalesce(format_type(present.atttypid, present.atttypmod), 'missing')),
        '; ')
    INTO problems
    FROM (VALUES
        ('pattern_id', 'uuid'),
        ('measurement_timestamp', 'timestamp with time zone'),
        ('event_id', 'uuid'),
        ('quality_score', 'double precision'),
        ('confidence', 'double precision'),
        ('version', 'text'),
        ('metadata', 'jsonb'),
        ('created_at', 'timestamp with time zone')
    ) AS needed (name, type)
    LEFT JOIN pg_attribute AS present
        ON present.attrelid = 'pattern_quality_history'::regclass
        AND present.attname = needed.name
        AND NOT present.attisdropped
    WHERE present.atttypid IS DISTINCT FROM needed.type::regtype;

    IF problems IS NULL AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'pattern_quality_history'::regclass
            AND pg_get_constraintdef(oid) = 'UNIQUE (pattern_id, measurement_timestamp)'
    ) THEN
        problems := 'UNIQUE (pattern_id, measurement_timestamp) is missing';
    END IF;

    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'the table pattern_quality_history that is here already does not fit: %', problems
            USING ERRCODE = 'invalid_table_definition',
                HINT = 'Alter it, or rename it out of the way; then repeat.';
    END IF;
END
$$;

CREATE OR REPLACE VIEW pattern_quality_changes AS
SELECT
    pattern_id,
    measurement_timestamp,
    quality_score,
    quality_score - lag(quality_score) OVER previous AS quality_change,
    lag(quality_score) OVER previous AS previous_quality_score,
    lag(measurement_timestamp) OVER previous AS previous_measurement_timestamp,
    confidence,
    version,
    metadata,
    event_id
FROM pattern_quality_history
WINDOW previous AS (PARTITION BY pattern_id ORDER BY measurement_timestamp);

COMMENT ON TABLE pattern_quality_history IS
    'Every measurement that was read while HISTORY_ENABLED was true. pattern_quality_metrics holds the latest measurements.';
COMMENT ON COLUMN pattern_quality_history.pattern_id IS 'The pattern that was measured.';
COMMENT ON COLUMN pattern_quality_history.measurement_timestamp IS 'The time of the measurement.';
COMMENT ON COLUMN pattern_quality_history.event_id IS
    'The event that the row holds. Of two events of a pattern with the same time, it is the one with the greater id.';
COMMENT ON COLUMN pattern_quality_history.quality_score IS 'The score, 0 to 1.';
COMMENT ON COLUMN pattern_quality_history.confidence IS 'The confidence of the scorer in the score, 0 to 1.';
COMMENT ON COLUMN pattern_quality_history.version IS 'The version of the scorer.';
COMMENT ON COLUMN pattern_quality_history.metadata IS 'The metadata of the event: dimensions, a name, anything.';
COMMENT ON COLUMN pattern_quality_history.created_at IS 'The time at which the row was first written.';

COMMENT ON VIEW pattern_quality_changes IS
    'Each measurement of the history, with the change since the previous measurement; null for the first measurement of a pattern.';
