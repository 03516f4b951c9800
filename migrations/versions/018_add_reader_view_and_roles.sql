-- 018: a view for those who only read, and the roles of readers and workers.
-- Apply by hand, after 017: psql -v ON_ERROR_STOP=1 -f 018_add_reader_view_and_roles.sql
-- Safe to repeat: it changes nothing where its work is done. Repeat it when a role was made later.

-- The bands and the dimensions of the scorer that comes with this. A dimension that is no number from 0 to 1 is
-- null: what others wrote into metadata must not break the view.
DO $create$
BEGIN
    IF to_regclass('pattern_quality_current') IS NULL THEN -- a later revision changes it
        CREATE VIEW pattern_quality_current AS
        SELECT
            pattern_id,
            metadata ->> 'name' AS name,
            quality_score,
            CASE
                WHEN quality_score >= 0.9 THEN 'excellent'
                WHEN quality_score >= 0.7 THEN 'good'
                WHEN quality_score >= 0.5 THEN 'fair'
                ELSE 'poor'
            END AS band,
            confidence,
            measurement_timestamp,
            version,
            jsonb_path_query_first(metadata, '$.dimensions.completeness ? (@ >= 0 && @ <= 1)')::double precision
                AS completeness,
            jsonb_path_query_first(metadata, '$.dimensions.documentation ? (@ >= 0 && @ <= 1)')::double precision
                AS documentation,
            jsonb_path_query_first(metadata, '$.dimensions.compliance ? (@ >= 0 && @ <= 1)')::double precision
                AS compliance,
            jsonb_path_query_first(metadata, '$.dimensions.metadata_richness ? (@ >= 0 && @ <= 1)')::double precision
                AS metadata_richness,
            jsonb_path_query_first(metadata, '$.dimensions.complexity ? (@ >= 0 && @ <= 1)')::double precision
                AS complexity,
            metadata,
            event_id,
            updated_at
        FROM pattern_quality_metrics;
    END IF;
END
$create$;

COMMENT ON VIEW pattern_quality_current IS
    'The current row of each pattern, with its band and the five dimensions of its score as columns.';

-- The roles cannot log in; a login is made a member: GRANT pattern_metrics_reader TO somebody.
DO $$
DECLARE
    wanted text;
    schema_name text;
    relation text;
    command text;
    others text[] := '{}';
BEGIN
    SELECT nspname INTO STRICT schema_name
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'pattern_quality_metrics'::regclass;

    FOREACH wanted IN ARRAY ARRAY['pattern_metrics_reader', 'pattern_metrics_worker'] LOOP
        IF to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL; -- by somebody else at the same moment: roles belong to the whole server
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'the role % was not created, as % may not create roles; to have it, let a '
                        'superuser run CREATE ROLE % NOLOGIN, and then apply '
                        '018_add_reader_view_and_roles.sql again with psql', wanted, current_user, wanted;
                    CONTINUE;
            END;
        END IF;
        -- Where everybody has these two already, as by default, nobody has to grant them.
        IF NOT has_schema_privilege(wanted, schema_name, 'USAGE') THEN
            others := others || format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, wanted);
        END IF;
        IF wanted = 'pattern_metrics_worker'
            AND NOT has_database_privilege(wanted, current_database(), 'TEMPORARY') THEN
            others := others || format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), wanted);
        END IF;
        FOREACH relation IN ARRAY ARRAY[
            'pattern_quality_metrics', 'pattern_quality_current', 'pattern_quality_history',
            'pattern_quality_changes', 'ingest_progress', 'ingest_gaps', 'dead_letters', 'alembic_version'
        ] LOOP
            IF to_regclass(relation) IS NOT NULL THEN
                EXECUTE format('GRANT SELECT ON %s TO %I', to_regclass(relation), wanted);
            END IF;
        END LOOP;
    END LOOP;

    IF to_regrole('pattern_metrics_worker') IS NOT NULL THEN
        GRANT INSERT, UPDATE
            ON pattern_quality_metrics, pattern_quality_history, ingest_progress, ingest_gaps, dead_letters
            TO pattern_metrics_worker;
        -- What is pruned is never the current row.
        GRANT DELETE ON pattern_quality_history, dead_letters TO pattern_metrics_worker;
    END IF;

    FOREACH command IN ARRAY others LOOP
        BEGIN
            EXECUTE command;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING '% was refused: %; let the owner run it', command, SQLERRM;
        END;
    END LOOP;
END
$$;
