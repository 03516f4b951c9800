-- Down from 021: removes the replica identity of the history.

DO $$
BEGIN
    IF (SELECT relreplident FROM pg_class WHERE oid = to_regclass('pattern_quality_history')) = 'i' THEN
        ALTER TABLE pattern_quality_history REPLICA IDENTITY DEFAULT;
    END IF;
END
$$;
