-- Writes the stage row by row, if some of it is refused: a few dozen rows at a time, and refused dozens one by one.
-- Returns the place of each refused row with its error. This function does not decide who is at fault. The statement of
-- the law replaces the marked line.
CREATE INDEX IF NOT EXISTS pattern_metrics_stage_place ON pattern_metrics_stage (place);

CREATE OR REPLACE FUNCTION pg_temp.write_rows(integer, integer) RETURNS bigint LANGUAGE plpgsql AS $function$
#variable_conflict use_column
DECLARE
    count bigint;
BEGIN
    NULL; -- the law
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$function$;

CREATE OR REPLACE FUNCTION pg_temp.write_row_by_row(rows integer)
RETURNS TABLE (place integer, written bigint, state text, message text) LANGUAGE plpgsql AS $function$
DECLARE
    at_once CONSTANT integer := 32;
BEGIN
    FOR start IN 1..rows BY at_once LOOP
        BEGIN
            place := start;
            written := pg_temp.write_rows(start, start + at_once - 1);
            state := NULL;
            RETURN NEXT;
        EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN
            FOR one IN start..least(start + at_once - 1, rows) LOOP
                place := one;
                BEGIN
                    written := pg_temp.write_rows(one, one);
                    state := NULL;
                EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN
                    written := 0;
                    state := SQLSTATE;
                    message := SQLERRM;
                END;
                RETURN NEXT;
            END LOOP;
        END;
    END LOOP;
END
$function$;
