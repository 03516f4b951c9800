-- Down from 023: drops the table of retired patterns, and refuses to while it holds any or the history holds retirements.

DO $$
BEGIN
    IF to_regclass('pattern_quality_retired') IS NOT NULL THEN
        LOCK TABLE pattern_quality_retired IN ACCESS EXCLUSIVE MODE;
        IF EXISTS (SELECT FROM pattern_quality_retired) THEN
            RAISE EXCEPTION 'pattern_quality_retired still holds patterns'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                    HINT = 'If a late record may bring these patterns back, TRUNCATE pattern_quality_retired; then repeat.';
        END IF;
        DROP TABLE pattern_quality_retired;
    END IF;
    IF EXISTS (SELECT FROM pattern_quality_history WHERE quality_score IS NULL) THEN
        RAISE EXCEPTION 'pattern_quality_history still holds retirements'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'If you do not need them, DELETE FROM pattern_quality_history WHERE quality_score IS NULL; then repeat.';
    END IF;
END
$$;

DROP VIEW IF EXISTS pattern_quality_changes;
ALTER TABLE pattern_quality_history
    DROP COLUMN IF EXISTS reason,
    ALTER COLUMN quality_score SET NOT NULL,
    ALTER COLUMN confidence SET NOT NULL,
    ALTER COLUMN version SET NOT NULL;
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

COMMENT ON TABLE pattern_quality_history IS
    'Every measurement that was read while HISTORY_ENABLED was true. pattern_quality_metrics holds the latest measurements.';
COMMENT ON VIEW pattern_quality_changes IS
    'Each measurement of the history, with the change since the previous measurement; null for the first measurement of a pattern.';
