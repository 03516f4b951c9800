-- Down from 012: drops the table of measurements, and refuses to while it holds any.

DO $$
BEGIN
    IF to_regclass('pattern_quality_metrics') IS NULL THEN
        RETURN;
    END IF;
    LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pattern_quality_metrics) THEN
        RAISE EXCEPTION 'pattern_quality_metrics still holds measurements'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'If you do not need them, TRUNCATE pattern_quality_metrics; then repeat.';
    END IF;
    DROP TABLE pattern_quality_metrics;
END
$$;
