"""The page: what people would rather look at than read. Read-only; it asks the database by itself."""
