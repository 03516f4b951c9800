-- Exclude all other writers until the end of this transaction: a pattern that has a row in neither table has nothing that
-- two writers could lock, and one of them may retire it while the other writes its measurement. Writers that come while
-- this waits wait behind it. So it gives up after a while, lets them go first, and the batch is tried again.
SET LOCAL lock_timeout = '5s';
LOCK TABLE pattern_quality_retired IN EXCLUSIVE MODE;
SET LOCAL lock_timeout TO DEFAULT
