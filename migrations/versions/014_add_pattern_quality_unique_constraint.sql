-- 014: one row per pattern: UNIQUE (pattern_id).
-- Apply by hand, after 013: psql -v ON_ERROR_STOP=1 -f 014_add_pattern_quality_unique_constraint.sql
-- Safe on an empty, a populated and an already migrated table, and safe to repeat.
--
-- One statement, hence one transaction, under a lock that keeps readers and writers out:
--   1. Where a pattern has several rows, the latest measurement stays and the others are moved to
--      pattern_quality_metrics_duplicates (the same columns, and moved_at). Nothing is deleted.
--   2. The constraint pattern_quality_metrics_pattern_id_unique is added.
--   3. Verified: the constraint is what it should be, no duplicate is left, an upsert by pattern_id works.
-- A failure anywhere leaves everything as it was.

DO $$
DECLARE
    column_names text;
    missing_columns text;
    event_order text := '';
    moved_count bigint := 0;
    probe_id uuid := gen_random_uuid();
    probe_count bigint;
    probe_score double precision;
BEGIN
    LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE;
    -- Deferred checks would hide a failure of the upsert below, and stand in the way of ALTER TABLE.
    SET CONSTRAINTS ALL IMMEDIATE;

    -- 1. Move the duplicates.
    IF EXISTS (
        SELECT FROM pattern_quality_metrics WHERE pattern_id IS NOT NULL GROUP BY pattern_id HAVING count(*) > 1
    ) THEN
        IF EXISTS (
            SELECT FROM pg_constraint
            WHERE contype = 'f' AND confrelid = 'pattern_quality_metrics'::regclass AND confdeltype IN ('c', 'n', 'd')
        ) THEN
            RAISE EXCEPTION 'to move the duplicates would delete or change the rows of other tables that refer to them'
                USING ERRCODE = 'dependent_objects_still_exist',
                    HINT = 'Drop the foreign keys ON DELETE CASCADE or SET that refer to pattern_quality_metrics; then repeat.';
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

        IF missing_columns IS NOT NULL THEN -- an earlier move knew fewer columns
            EXECUTE 'ALTER TABLE pattern_quality_metrics_duplicates ' || missing_columns;
        END IF;

        IF EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'pattern_quality_metrics'::regclass AND attname = 'event_id' AND NOT attisdropped
        ) THEN -- there from 015 on
            event_order := 'event_id DESC NULLS LAST,';
        END IF;

        EXECUTE format(
            'WITH ranked AS (
                SELECT ctid AS place_in_table, row_number() OVER (
                    PARTITION BY pattern_id
                    ORDER BY measurement_timestamp DESC NULLS LAST, %s
                        updated_at DESC NULLS LAST, created_at DESC NULLS LAST, ctid DESC
                ) AS rank
                FROM pattern_quality_metrics
                WHERE pattern_id IS NOT NULL
            ), moved AS (
                DELETE FROM pattern_quality_metrics
                USING ranked
                WHERE pattern_quality_metrics.ctid = ranked.place_in_table AND ranked.rank > 1
                RETURNING pattern_quality_metrics.*
            )
            INSERT INTO pattern_quality_metrics_duplicates (%s) SELECT %2$s FROM moved',
            event_order, column_names);
        GET DIAGNOSTICS moved_count = ROW_COUNT;
    END IF;
    RAISE NOTICE '% duplicates moved to pattern_quality_metrics_duplicates', moved_count;

    -- 2. Add the constraint.
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'pattern_quality_metrics'::regclass AND conname = 'pattern_quality_metrics_pattern_id_unique'
    ) THEN
        ALTER TABLE pattern_quality_metrics
            ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique UNIQUE (pattern_id);
    END IF;

    -- 3. Verify.
    IF NOT EXISTS (
        SELECT FROM pg_constraint AS found
        JOIN pg_attribute AS present ON present.attrelid = found.conrelid AND found.conkey = ARRAY[present.attnum]
        WHERE found.conrelid = 'pattern_quality_metrics'::regclass
            AND found.conname = 'pattern_quality_metrics_pattern_id_unique'
            AND found.contype = 'u'
            AND found.convalidated
            AND NOT found.condeferrable -- ON CONFLICT cannot lean on a deferrable one
            AND present.attname = 'pattern_id'
    ) THEN
        RAISE EXCEPTION 'pattern_quality_metrics_pattern_id_unique is there, but is not UNIQUE (pattern_id), valid and not deferrable'
            USING ERRCODE = 'invalid_table_definition',
                HINT = 'Drop or rename that constraint; then repeat.';
    END IF;

    IF EXISTS (
        SELECT FROM pattern_quality_metrics WHERE pattern_id IS NOT NULL GROUP BY pattern_id HAVING count(*) > 1
    ) THEN
        RAISE EXCEPTION 'a pattern still has more than one row'
            USING ERRCODE = 'unique_violation', HINT = 'An index may be damaged: REINDEX TABLE pattern_quality_metrics.';
    END IF;

    BEGIN
        FOR score IN 0..1 LOOP
            INSERT INTO pattern_quality_metrics
                (pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
            VALUES (probe_id, score, score, now(), '1.0.0', '{}')
            ON CONFLICT (pattern_id) DO UPDATE SET quality_score = excluded.quality_score;
        END LOOP;
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
                    HINT = 'Look for a trigger or constraint on pattern_quality_metrics that refuses it; 013 comes before 014.';
    END;
    RAISE NOTICE 'verified: the constraint is there, no duplicate is left, an upsert by pattern_id works';
END
$$;
