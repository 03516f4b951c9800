"""Operations that a person runs once: replay, verify, backfill, export, migrate and others."""
