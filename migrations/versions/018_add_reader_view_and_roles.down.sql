-- Down from 018: drops the view and revokes the rights. The roles stay, as other databases of the server may
-- use them.

DROP VIEW IF EXISTS pattern_quality_current;

DO $$
DECLARE
    wanted text;
    relation text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['pattern_metrics_reader', 'pattern_metrics_worker'] LOOP
        FOREACH relation IN ARRAY ARRAY[
            'pattern_quality_metrics', 'pattern_quality_history', 'pattern_quality_changes',
            'ingest_progress', 'ingest_gaps', 'dead_letters', 'pattern_metrics_alembic_version'
        ] LOOP
            IF to_regrole(wanted) IS NOT NULL AND to_regclass(relation) IS NOT NULL THEN
                EXECUTE format('REVOKE ALL ON %s FROM %I', to_regclass(relation), wanted);
            END IF;
        END LOOP;
    END LOOP;
END
$$;
