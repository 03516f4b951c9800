-- Statements after this can be undone separately. A constraint that is deferred to the commit would refuse the whole
-- batch; checked immediately, it refuses only its row.
SET CONSTRAINTS ALL IMMEDIATE;
SAVEPOINT rows
