-- Everything the worker needs that is missing: a table, a column, a function or a right. The history counts
-- only if it is kept.
WITH needed (relation, privileges) AS (
    VALUES
        ('pattern_quality_metrics', 'SELECT, INSERT, UPDATE, DELETE'),
        ('pattern_quality_retired', 'SELECT, INSERT, UPDATE, DELETE'),
        ('pattern_quality_history', 'SELECT, INSERT, UPDATE'),
        ('ingest_progress', 'SELECT, INSERT, UPDATE'),
        ('ingest_gaps', 'SELECT, INSERT, UPDATE'),
        ('dead_letters', 'SELECT, INSERT, UPDATE')
), law (name, function) AS (
    VALUES (
        'pattern_metrics_supersedes',
        to_regprocedure('pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)')
    )
)
SELECT relation, NULL AS privilege
FROM needed
WHERE to_regclass(relation) IS NULL AND (relation <> 'pattern_quality_history' OR $1)
UNION ALL
SELECT name, NULL FROM law WHERE function IS NULL
UNION ALL
SELECT 'ingest_progress.leader_epoch', NULL
WHERE to_regclass('ingest_progress') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('ingest_progress') AND attname = 'leader_epoch' AND NOT attisdropped
)
UNION ALL
SELECT relation, privilege
FROM needed CROSS JOIN LATERAL string_to_table(privileges, ', ') AS privilege
WHERE NOT has_table_privilege(to_regclass(relation), privilege) -- null where there is no such table
    AND (relation <> 'pattern_quality_history' OR $1)
UNION ALL
SELECT name, 'EXECUTE' FROM law WHERE NOT has_function_privilege(function, 'EXECUTE')
UNION ALL
SELECT 'the database', 'TEMPORARY'
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
