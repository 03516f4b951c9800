-- What the worker may not do here, of what it has to.
SELECT format('%s on %s', privilege, relation)
FROM (VALUES
    ('pattern_quality_metrics', 'SELECT, INSERT, UPDATE'),
    ('pattern_quality_history', 'SELECT, INSERT, UPDATE'),
    ('ingest_progress', 'SELECT, INSERT, UPDATE'),
    ('ingest_gaps', 'SELECT, INSERT, UPDATE'),
    ('dead_letters', 'SELECT, INSERT, UPDATE')
) AS needed (relation, privileges)
CROSS JOIN LATERAL string_to_table(privileges, ', ') AS privilege
WHERE NOT has_table_privilege(relation, privilege)
UNION ALL
SELECT format('EXECUTE on %s', law)
FROM (VALUES ('pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)'::regprocedure)) AS called (law)
WHERE NOT has_function_privilege(law, 'EXECUTE')
UNION ALL
SELECT 'TEMPORARY on the database'
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
