"""Key progress and gaps by the topic's ID."""

from pattern_metrics.migrations.sql_files import run_sql

revision = "022"
down_revision = "021"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql(__file__, ".sql")


def downgrade() -> None:
    """Run its way back."""
    run_sql(__file__, ".down.sql")
