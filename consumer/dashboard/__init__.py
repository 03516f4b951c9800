"""The page: the state of table and worker for people. Read-only; it queries the database itself."""
