-- 023: the patterns that an event has retired, with their last row; the history also keeps retirements.
-- Apply by hand, after 022: psql -v ON_ERROR_STOP=1 -f 023_add_retired_patterns.sql
-- Safe to repeat: it changes nothing if its work is done.
-- A worker of an earlier release runs on, and makes dead letters of retirements. The worker of this release needs the
-- revision.
\ir ../refuse_unfit.sql
\ir ../patiently.sql

CREATE TABLE IF NOT EXISTS pattern_quality_retired (
    pattern_id uuid CONSTRAINT pattern_quality_retired_pkey PRIMARY KEY,
    event_id uuid NOT NULL,
    retired_at timestamptz NOT NULL,
    reason text,
    retirement_metadata jsonb NOT NULL DEFAULT '{}',
    last_event_id uuid,
    quality_score double precision,
    confidence double precision,
    measurement_timestamp timestamptz,
    version text,
    metadata jsonb,
    updated_at timestamptz NOT NULL DEFAULT now()
);

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'pattern_quality_history'::regclass AND attname = 'reason' AND NOT attisdropped
    ) THEN
        CALL pattern_metrics_patiently($changes$
            ALTER TABLE pattern_quality_history
                ALTER COLUMN quality_score DROP NOT NULL,
                ALTER COLUMN confidence DROP NOT NULL,
                ALTER COLUMN version DROP NOT NULL,
                ADD COLUMN reason text
        $changes$);
    END IF;
END
$$;

CALL pattern_metrics_patiently($view$
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
    event_id,
    quality_score IS NULL AS is_retirement,
    reason
FROM pattern_quality_history
WINDOW previous AS (PARTITION BY pattern_id ORDER BY measurement_timestamp)
$view$);

COMMENT ON TABLE pattern_quality_retired IS
    'The patterns whose greatest event is a retirement. They have no row in pattern_quality_metrics. A newer measurement moves a pattern back.';
COMMENT ON COLUMN pattern_quality_retired.pattern_id IS 'The pattern that is retired.';
COMMENT ON COLUMN pattern_quality_retired.event_id IS 'The event that retired the pattern.';
COMMENT ON COLUMN pattern_quality_retired.retired_at IS 'The time of the retirement.';
COMMENT ON COLUMN pattern_quality_retired.reason IS 'Why the pattern was retired.';
COMMENT ON COLUMN pattern_quality_retired.retirement_metadata IS 'The metadata of the retirement.';
COMMENT ON COLUMN pattern_quality_retired.last_event_id IS
    'The greatest measurement before the retirement, however late it was read; null, as all its columns, where there is none.';
COMMENT ON COLUMN pattern_quality_retired.quality_score IS 'The score of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.confidence IS 'The confidence of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.measurement_timestamp IS 'The time of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.version IS 'The version of the scorer in the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.metadata IS 'The metadata of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.updated_at IS 'The time at which a retirement was last written.';
COMMENT ON TABLE pattern_quality_history IS
    'Every measurement and retirement that was read while HISTORY_ENABLED was true. A retirement has no score.';
COMMENT ON COLUMN pattern_quality_history.reason IS 'Why the pattern was retired; null for a measurement.';
COMMENT ON VIEW pattern_quality_changes IS
    'Each event of the history, with the change since the previous measurement; null for the first measurement of a pattern, for a retirement, and after it.';

DROP PROCEDURE pattern_metrics_patiently(text);
