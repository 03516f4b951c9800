-- Down from 017: drops the history of measurements, and refuses to while it holds any.

DO $$
BEGIN
    IF to_regclass('pattern_quality_history') IS NULL THEN
        RETURN;
    END IF;
    LOCK TABLE pattern_quality_history IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pattern_quality_history) THEN
        RAISE EXCEPTION 'pattern_quality_history still holds measurements'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'If you do not need them, TRUNCATE pattern_quality_history; then repeat.';
    END IF;
    DROP VIEW IF EXISTS pattern_quality_changes;
    DROP TABLE pattern_quality_history;
END
$$;
