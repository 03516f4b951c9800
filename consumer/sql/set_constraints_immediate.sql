-- A constraint that is deferred to the commit would refuse the whole batch there; now it refuses its row.
SET CONSTRAINTS ALL IMMEDIATE;
