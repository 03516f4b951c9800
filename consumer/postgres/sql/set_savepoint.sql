-- What comes after it can be undone by itself. A constraint that is deferred to the commit would refuse the whole
-- batch there; now it refuses its row.
SET CONSTRAINTS ALL IMMEDIATE;
SAVEPOINT rows
