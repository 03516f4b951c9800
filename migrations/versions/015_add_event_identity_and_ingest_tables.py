"""Add the event's identity, progress, gaps and dead letters."""

from pattern_metrics.migrations.sql_files import run_sql

revision = "015"
down_revision = "014"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql(__file__, ".sql")


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_sql(__file__, ".down.sql")
