-- Down from 021: the history has no replica identity any more, as before.

DO $$
BEGIN
    IF (SELECT relreplident FROM pg_class WHERE oid = to_regclass('pattern_quality_history')) = 'i' THEN
        ALTER TABLE pattern_quality_history REPLICA IDENTITY DEFAULT;
    END IF;
END
$$;
