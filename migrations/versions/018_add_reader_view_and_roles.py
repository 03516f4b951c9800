"""Add the view for readers, and the roles of reader and worker."""

from pattern_metrics.migrations.sql_files import run_sql

revision = "018"
down_revision = "017"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql(__file__, ".sql")


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_sql(__file__, ".down.sql")
