-- Undo what came after the last savepoint.
ROLLBACK TO SAVEPOINT rows
