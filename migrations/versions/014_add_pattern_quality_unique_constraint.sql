-- 014: one row per pattern: UNIQUE (pattern_id).
-- Apply by hand, after 013, outside a transaction: psql -v ON_ERROR_STOP=1 -f 014_add_pattern_quality_unique_constraint.sql
-- Safe on an empty, a populated and an already migrated table. Safe to repeat, also after an interruption or an error:
-- the next run has the same result.
--
-- Readers and writers keep working: indexes are built concurrently, and every heavier lock is held for an instant.
--   1. Checked before anything is changed: rows can be inserted and updated; no other table would lose rows.
--   2. An index of the patterns is built, and a trigger refuses a second row of a pattern from here on.
--   3. Where a pattern has several rows, the latest measurement stays and the others are moved to
--      pattern_quality_metrics_duplicates (the same columns, and moved_at), in portions. Nothing is deleted.
--   4. The unique index is built, and attached as the constraint pattern_quality_metrics_pattern_id_unique.
--   5. Verified: the constraint is what it should be, no duplicate is left, an upsert by pattern_id works.
\ir ../patiently.sql

-- Runs an insert and a change of one row, and undoes both.
CREATE OR REPLACE PROCEDURE pattern_metrics_probe(on_conflict text, change text) LANGUAGE plpgsql AS $probe$
DECLARE
    probe_id uuid := gen_random_uuid();
    probe_count bigint;
    probe_score double precision;
    command text := 'INSERT INTO pattern_quality_metrics
            (pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
        VALUES ($1, $2, $2, now(), ''1.0.0'', ''{}'') ' || on_conflict;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE; -- deferred checks would hide a failure
    EXECUTE command USING probe_id, 0::double precision;
    EXECUTE coalesce(change, command) USING probe_id, 1::double precision;
    SELECT count(*), max(quality_score) INTO probe_count, probe_score
    FROM pattern_quality_metrics
    WHERE pattern_id = probe_id;
    RAISE EXCEPTION USING ERRCODE = 'PM014'; -- undoes what the probe wrote
EXCEPTION
    WHEN SQLSTATE 'PM014' THEN
        IF probe_count <> 1 OR probe_score <> 1 THEN
            RAISE EXCEPTION 'two upserts of one pattern left % rows, with the score %', probe_count, probe_score
                USING ERRCODE = 'object_not_in_prerequisite_state',
                    HINT = 'Look for a trigger or rule on pattern_quality_metrics.';
        END IF;
    WHEN OTHERS THEN
        RAISE EXCEPTION 'an upsert by pattern_id does not work: %', SQLERRM
            USING ERRCODE = SQLSTATE,
                HINT = 'Look for a trigger or constraint on pattern_quality_metrics that refuses it; apply 013 before 014.';
END
$probe$;

-- 1. Check.
CALL pattern_metrics_probe('', 'UPDATE pattern_quality_metrics SET quality_score = $2 WHERE pattern_id = $1');

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'pattern_quality_metrics'::regclass AND confdeltype IN ('c', 'n', 'd')
    ) AND EXISTS (
        SELECT FROM pattern_quality_metrics WHERE pattern_id IS NOT NULL GROUP BY pattern_id HAVING count(*) > 1
    ) THEN
        RAISE EXCEPTION 'moving the duplicates would delete or change rows of other tables that refer to them'
            USING ERRCODE = 'dependent_objects_still_exist',
                HINT = 'Drop the foreign keys to pattern_quality_metrics that have ON DELETE CASCADE or SET; then repeat.';
    END IF;
END
$$;

-- 2. Index and trigger. An index that an interrupted build left is not valid.
SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass)
FROM pg_index
WHERE NOT indisvalid AND indexrelid IN (
    to_regclass('pattern_quality_metrics_pattern_id_portions'),
    to_regclass('pattern_quality_metrics_pattern_id_unique'))
\gexec

SELECT 'CREATE INDEX CONCURRENTLY IF NOT EXISTS pattern_quality_metrics_pattern_id_portions
    ON pattern_quality_metrics (pattern_id)'
WHERE EXISTS (SELECT FROM pattern_quality_metrics) AND NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = 'pattern_quality_metrics'::regclass AND conname = 'pattern_quality_metrics_pattern_id_unique')
\gexec

-- Two transactions that insert a new pattern at the same moment do not see each other's row. If that happens, the build
-- of the unique index fails, and the next run moves the older row.
CREATE OR REPLACE FUNCTION pattern_metrics_refuse_second_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $trigger$
DECLARE
    is_second boolean;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.pattern_id IS NOT DISTINCT FROM OLD.pattern_id THEN
        RETURN NEW;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE pattern_id = $1)', TG_TABLE_SCHEMA, TG_TABLE_NAME)
        INTO is_second USING NEW.pattern_id;
    IF is_second THEN
        RAISE EXCEPTION 'the pattern % has a row already', NEW.pattern_id
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'pattern_quality_metrics_pattern_id_unique';
    END IF;
    RETURN NEW;
END
$trigger$;

DO $$
BEGIN
    IF to_regclass('pattern_quality_metrics_pattern_id_portions') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'pattern_quality_metrics'::regclass AND conname = 'pattern_quality_metrics_pattern_id_unique'
    ) THEN
        CALL pattern_metrics_patiently(
            'CREATE OR REPLACE TRIGGER pattern_metrics_refuse_second_row
                BEFORE INSERT OR UPDATE OF pattern_id ON pattern_quality_metrics
                FOR EACH ROW EXECUTE FUNCTION pattern_metrics_refuse_second_row()');
    END IF;
END
$$;

-- 3. Move the duplicates, in portions of some 10,000 rows.
DO $$
DECLARE
    column_names text;
    missing_columns text;
    event_order text := '';
    lower_bound uuid := '00000000-0000-0000-0000-000000000000';
    upper_bound uuid;
    portion_count bigint;
    moved_count bigint := 0;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pattern_quality_metrics WHERE pattern_id IS NOT NULL GROUP BY pattern_id HAVING count(*) > 1
    ) THEN
        RAISE NOTICE '0 duplicates moved to pattern_quality_metrics_duplicates';
        RETURN;
    END IF;

    IF to_regclass('pattern_quality_metrics_duplicates') IS NULL THEN
        CREATE TABLE pattern_quality_metrics_duplicates AS TABLE pattern_quality_metrics WITH NO DATA;
        ALTER TABLE pattern_quality_metrics_duplicates ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now();
        COMMENT ON TABLE pattern_quality_metrics_duplicates IS
            'Measurements that were not the latest of their pattern when revision 014 allowed only one row each.';
    END IF;

    SELECT
        string_agg(quote_ident(source.attname), ', '),
        string_agg(
            format('ADD COLUMN %I %s', source.attname, format_type(source.atttypid, source.atttypmod)), ', ')
            FILTER (WHERE target.attname IS NULL)
    INTO column_names, missing_columns
    FROM pg_attribute AS source
    LEFT JOIN pg_attribute AS target
        ON target.attrelid = 'pattern_quality_metrics_duplicates'::regclass
        AND target.attname = source.attname
        AND NOT target.attisdropped
    WHERE source.attrelid = 'pattern_quality_metrics'::regclass AND source.attnum > 0 AND NOT source.attisdropped;

    IF missing_columns IS NOT NULL THEN -- the table had fewer columns at an earlier move
        EXECUTE 'ALTER TABLE pattern_quality_metrics_duplicates ' || missing_columns;
    END IF;

    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'pattern_quality_metrics'::regclass AND attname = 'event_id' AND NOT attisdropped
    ) THEN -- exists from 015 on
        event_order := 'event_id DESC NULLS LAST,';
    END IF;
    COMMIT;

    LOOP
        SELECT pattern_id INTO upper_bound
        FROM pattern_quality_metrics WHERE pattern_id >= lower_bound ORDER BY pattern_id OFFSET 9999 LIMIT 1;
        upper_bound := coalesce(upper_bound, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
        -- The rows are locked before they are ranked: a row that another transaction changes at that time stays.
        EXECUTE format(
            'WITH several AS (
                SELECT pattern_id FROM pattern_quality_metrics
                WHERE pattern_id BETWEEN $1 AND $2 GROUP BY pattern_id HAVING count(*) > 1
            ), locked AS MATERIALIZED (
                SELECT pattern_quality_metrics.ctid AS place_in_table, pattern_quality_metrics.*
                FROM pattern_quality_metrics JOIN several USING (pattern_id)
                WHERE pattern_id BETWEEN $1 AND $2
                FOR UPDATE OF pattern_quality_metrics
            ), ranked AS (
                SELECT place_in_table, row_number() OVER (
                    PARTITION BY pattern_id
                    ORDER BY measurement_timestamp DESC NULLS LAST, %s
                        updated_at DESC NULLS LAST, created_at DESC NULLS LAST, place_in_table DESC
                ) AS rank
                FROM locked
            ), moved AS (
                DELETE FROM pattern_quality_metrics
                WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM ranked WHERE rank > 1))
                RETURNING pattern_quality_metrics.*
            )
            INSERT INTO pattern_quality_metrics_duplicates (%s) SELECT %2$s FROM moved',
            event_order, column_names) USING lower_bound, upper_bound;
        GET DIAGNOSTICS portion_count = ROW_COUNT;
        COMMIT;
        moved_count := moved_count + portion_count;
        SELECT pattern_id INTO lower_bound
        FROM pattern_quality_metrics WHERE pattern_id > upper_bound ORDER BY pattern_id LIMIT 1;
        EXIT WHEN lower_bound IS NULL;
    END LOOP;
    RAISE NOTICE '% duplicates moved to pattern_quality_metrics_duplicates', moved_count;
END
$$;

-- 4. Build and attach.
SELECT 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS pattern_quality_metrics_pattern_id_unique
    ON pattern_quality_metrics (pattern_id)'
WHERE to_regclass('pattern_quality_metrics_pattern_id_portions') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = 'pattern_quality_metrics'::regclass AND conname = 'pattern_quality_metrics_pattern_id_unique')
\gexec

DO $$
DECLARE
    commands text := '';
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'pattern_quality_metrics'::regclass AND conname = 'pattern_quality_metrics_pattern_id_unique'
    ) THEN
        commands := 'ALTER TABLE pattern_quality_metrics ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique UNIQUE ';
        IF to_regclass('pattern_quality_metrics_pattern_id_unique') IS NULL THEN -- the table was empty
            commands := commands || '(pattern_id);';
        ELSE
            commands := commands || 'USING INDEX pattern_quality_metrics_pattern_id_unique;';
        END IF;
    END IF;
    IF EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = 'pattern_quality_metrics'::regclass AND tgname = 'pattern_metrics_refuse_second_row'
    ) THEN
        commands := commands || 'DROP TRIGGER pattern_metrics_refuse_second_row ON pattern_quality_metrics;';
    END IF;
    IF commands <> '' THEN
        CALL pattern_metrics_patiently(commands);
    END IF;
END
$$;

DROP FUNCTION pattern_metrics_refuse_second_row();
SELECT 'DROP INDEX CONCURRENTLY pattern_quality_metrics_pattern_id_portions'
WHERE to_regclass('pattern_quality_metrics_pattern_id_portions') IS NOT NULL
\gexec

-- 5. Verify.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint AS found
        JOIN pg_attribute AS present ON present.attrelid = found.conrelid AND found.conkey = ARRAY[present.attnum]
        WHERE found.conrelid = 'pattern_quality_metrics'::regclass
            AND found.conname = 'pattern_quality_metrics_pattern_id_unique'
            AND found.contype = 'u'
            AND found.convalidated
            AND NOT found.condeferrable -- ON CONFLICT cannot use a deferrable one
            AND present.attname = 'pattern_id'
    ) THEN
        RAISE EXCEPTION 'pattern_quality_metrics_pattern_id_unique exists, but is not a valid, non-deferrable UNIQUE (pattern_id)'
            USING ERRCODE = 'invalid_table_definition',
                HINT = 'Drop or rename that constraint; then repeat.';
    END IF;

    IF EXISTS (
        SELECT FROM pattern_quality_metrics WHERE pattern_id IS NOT NULL GROUP BY pattern_id HAVING count(*) > 1
    ) THEN
        RAISE EXCEPTION 'a pattern still has more than one row'
            USING ERRCODE = 'unique_violation', HINT = 'An index may be damaged: REINDEX TABLE pattern_quality_metrics.';
    END IF;

    CALL pattern_metrics_probe('ON CONFLICT (pattern_id) DO UPDATE SET quality_score = excluded.quality_score', NULL);
    RAISE NOTICE 'verified: the constraint exists, no duplicate is left, an upsert by pattern_id works';
END
$$;

DROP PROCEDURE pattern_metrics_probe(text, text);
DROP PROCEDURE pattern_metrics_patiently(text);
