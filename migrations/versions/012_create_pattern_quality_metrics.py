"""Create the table of measurements."""

from pattern_metrics.migrations.sql_files import run_sql

revision = "012"
down_revision = None


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql(__file__, ".sql")


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_sql(__file__, ".down.sql")
