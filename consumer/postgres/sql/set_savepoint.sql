-- Statements after this can be undone separately. A constraint that is deferred to the commit would refuse the whole
-- batch; checked immediately, it refuses only its row. The lock waits for a transaction that retires patterns, see
-- set_writer_lock.sql, and excludes no other writer of measurements.
SET CONSTRAINTS ALL IMMEDIATE;
LOCK TABLE pattern_quality_retired IN ROW SHARE MODE;
SAVEPOINT rows
