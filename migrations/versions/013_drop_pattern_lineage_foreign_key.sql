-- 013: drops the foreign key from pattern_id to the lineage table, so that every pattern can be scored,
-- also one that has no lineage.
-- Apply by hand: psql -v ON_ERROR_STOP=1 -f 013_drop_pattern_lineage_foreign_key.sql
-- Safe to repeat: it changes nothing if there is no such key. The key's name differs between databases, so it
-- is searched for.
\ir ../patiently.sql

DO $$
DECLARE
    foreign_key record;
BEGIN
    FOR foreign_key IN
        SELECT found.conname AS name, found.confrelid::regclass AS referenced_table
        FROM pg_constraint AS found
        JOIN pg_attribute AS present
            ON present.attrelid = found.conrelid AND present.attnum = ANY (found.conkey)
        WHERE found.conrelid = 'pattern_quality_metrics'::regclass
            AND found.contype = 'f'
            AND present.attname = 'pattern_id'
    LOOP
        CALL pattern_metrics_patiently(
            format('ALTER TABLE pattern_quality_metrics DROP CONSTRAINT %I', foreign_key.name));
        RAISE NOTICE 'dropped the foreign key % to %', foreign_key.name, foreign_key.referenced_table;
    END LOOP;
END
$$;

DROP PROCEDURE pattern_metrics_patiently(text);
