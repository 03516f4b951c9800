"""PostgreSQL: connections, the write of a batch, and dry runs."""
