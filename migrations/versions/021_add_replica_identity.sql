-- 021: gives each table a primary key or a replica identity, so that it can be part of a publication (for example of
-- all tables). Without it PostgreSQL refuses to update a published table, with SQLSTATE 55000.
-- Apply by hand, after 020: psql -v ON_ERROR_STOP=1 -f 021_add_replica_identity.sql
-- Safe to repeat: it changes nothing if its work is done. It changes only the catalog, so readers wait only for the
-- lock, whatever the number of rows.
\ir ../patiently.sql

DO $$
DECLARE
    relation regclass;
    identity_index text;
BEGIN
    FOR relation IN
        SELECT published.oid::regclass
        FROM pg_class AS published
        WHERE published.oid IN (
            to_regclass('pattern_quality_metrics'), to_regclass('pattern_quality_metrics_duplicates'),
            to_regclass('pattern_quality_history'), to_regclass('ingest_progress'), to_regclass('ingest_gaps'),
            to_regclass('dead_letters'))
            AND published.relreplident <> 'f'
            AND NOT EXISTS (
                SELECT FROM pg_index
                WHERE indrelid = published.oid AND indisvalid AND indimmediate
                    AND CASE published.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE false END)
    LOOP
        -- Take the smallest key whose columns are never null; without one, the whole row.
        SELECT relname INTO identity_index
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = relation AND indisunique AND indisvalid AND indimmediate
            AND indpred IS NULL AND indexprs IS NULL
            AND NOT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = relation AND attnum = ANY (indkey) AND NOT attnotnull)
        ORDER BY indnkeyatts, indexrelid
        LIMIT 1;
        IF identity_index IS NULL THEN
            CALL pattern_metrics_patiently(format('ALTER TABLE %s REPLICA IDENTITY FULL', relation));
        ELSE
            CALL pattern_metrics_patiently(
                format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', relation, identity_index));
        END IF;
    END LOOP;
END
$$;

DROP PROCEDURE pattern_metrics_patiently(text);
