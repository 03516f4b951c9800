-- Creates the roles of readers and workers and grants their rights, where these are missing. It changes nothing else.
-- `pattern-metrics migrate up` and the printed script run it at the end, at any revision: a dump that was restored on
-- another server, or with --no-privileges, has the tables without the roles and the rights.
-- Apply by hand, after the revisions: psql -v ON_ERROR_STOP=1 -f grant_rights.sql
--
-- The roles cannot log in. Make a login a member: GRANT pattern_metrics_reader TO somebody.
DO $$
DECLARE
    wanted text;
    command text;
    granted integer := 0;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['pattern_metrics_reader', 'pattern_metrics_worker'] LOOP
        CONTINUE WHEN to_regrole(wanted) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            RAISE NOTICE 'created the role %; a login becomes its member by GRANT % TO login', wanted, wanted;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another session has created it, because roles belong to the whole server
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role % was not created, as % may not create roles; to have it, let a superuser run '
                    'CREATE ROLE % NOLOGIN, and then run migrate up, or apply grant_rights.sql with psql, again',
                    wanted, current_user, wanted;
        END;
    END LOOP;

    FOR command IN
        WITH rights (role, relation, privileges) AS (
            VALUES
                ('pattern_metrics_reader', 'pattern_quality_metrics', 'SELECT'),
                ('pattern_metrics_reader', 'pattern_quality_current', 'SELECT'),
                ('pattern_metrics_reader', 'pattern_quality_retired', 'SELECT'),
                ('pattern_metrics_reader', 'pattern_quality_history', 'SELECT'),
                ('pattern_metrics_reader', 'pattern_quality_changes', 'SELECT'),
                ('pattern_metrics_reader', 'ingest_progress', 'SELECT'),
                ('pattern_metrics_reader', 'ingest_gaps', 'SELECT'),
                ('pattern_metrics_reader', 'dead_letters', 'SELECT'),
                ('pattern_metrics_reader', 'pattern_metrics_alembic_version', 'SELECT'),
                -- A retirement moves the row of its pattern, and a newer measurement moves it back.
                ('pattern_metrics_worker', 'pattern_quality_metrics', 'SELECT, INSERT, UPDATE, DELETE'),
                ('pattern_metrics_worker', 'pattern_quality_retired', 'SELECT, INSERT, UPDATE, DELETE'),
                ('pattern_metrics_worker', 'pattern_quality_current', 'SELECT'),
                -- Pruning deletes only rows that are not the current row of a pattern.
                ('pattern_metrics_worker', 'pattern_quality_history', 'SELECT, INSERT, UPDATE, DELETE'),
                ('pattern_metrics_worker', 'pattern_quality_changes', 'SELECT'),
                ('pattern_metrics_worker', 'ingest_progress', 'SELECT, INSERT, UPDATE'),
                ('pattern_metrics_worker', 'ingest_gaps', 'SELECT, INSERT, UPDATE'),
                ('pattern_metrics_worker', 'dead_letters', 'SELECT, INSERT, UPDATE, DELETE'),
                ('pattern_metrics_worker', 'pattern_metrics_alembic_version', 'SELECT')
        ), roles (role) AS (
            SELECT role FROM unnest(ARRAY['pattern_metrics_reader', 'pattern_metrics_worker']) AS role
            WHERE to_regrole(role) IS NOT NULL
        )
        SELECT format('GRANT %s ON %s TO %I', string_agg(privilege, ', '), to_regclass(relation), role)
        FROM roles JOIN rights USING (role) CROSS JOIN LATERAL string_to_table(privileges, ', ') AS privilege
        WHERE NOT has_table_privilege(role, to_regclass(relation), privilege) -- null where there is no such relation
        GROUP BY role, relation
        -- PUBLIC has these rights by default; then they need no grant.
        UNION ALL
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', function, role)
        FROM roles CROSS JOIN (
            VALUES
                (to_regprocedure('pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)')),
                (to_regprocedure('pattern_quality_band(double precision)'))
        ) AS called (function)
        WHERE NOT has_function_privilege(role, function, 'EXECUTE')
        UNION ALL
        SELECT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, role)
        FROM roles JOIN pg_class ON oid = to_regclass('pattern_quality_metrics')
        WHERE NOT has_schema_privilege(role, relnamespace, 'USAGE')
        UNION ALL
        SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), role)
        FROM roles
        WHERE role = 'pattern_metrics_worker' AND NOT has_database_privilege(role, current_database(), 'TEMPORARY')
    LOOP
        BEGIN
            EXECUTE command;
            granted := granted + 1;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING '% was refused: %; let the owner run it', command, SQLERRM;
        END;
    END LOOP;
    IF granted > 0 THEN
        RAISE NOTICE 'granted pattern_metrics_reader and pattern_metrics_worker what they lacked: % rights', granted;
    END IF;
END
$$;
