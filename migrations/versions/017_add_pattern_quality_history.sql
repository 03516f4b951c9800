-- 017: every measurement of a pattern (if HISTORY_ENABLED is true), and the changes from one to the next.
-- Apply by hand, after 016: psql -v ON_ERROR_STOP=1 -f 017_add_pattern_quality_history.sql
-- Safe to repeat: it changes nothing if its work is done.
\ir ../refuse_unfit.sql

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

DO $create$
BEGIN
    IF to_regclass('pattern_quality_changes') IS NULL THEN -- a later revision changes it
        CREATE VIEW pattern_quality_changes AS
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
    END IF;
END
$create$;

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
