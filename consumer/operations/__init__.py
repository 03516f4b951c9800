"""What a person runs once: replay, verify, backfill, export, migrate and the like."""
