-- A procedure that runs commands which lock a table that others use. The revisions include this file and drop the
-- procedure at their end.
--
-- While a command waits for a lock, every later query on the table waits behind it, even a query that only reads. So the
-- command waits 0.2 s at most, lets the queries go first and tries again, for a minute. SET pattern_metrics.patience
-- changes these 60 seconds.
\set ON_ERROR_STOP on

CREATE OR REPLACE PROCEDURE pattern_metrics_patiently(commands text) LANGUAGE plpgsql AS $patiently$
DECLARE
    patience text := coalesce(nullif(current_setting('pattern_metrics.patience', true), ''), '60');
    last_attempt timestamptz := clock_timestamp() + make_interval(secs => patience::double precision);
BEGIN
    LOOP
        BEGIN
            SET LOCAL lock_timeout = '200ms';
            EXECUTE commands;
            EXIT;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > last_attempt THEN
                RAISE;
            END IF;
        END;
        COMMIT;
        PERFORM pg_sleep(0.3);
    END LOOP;
    COMMIT;
END
$patiently$;
