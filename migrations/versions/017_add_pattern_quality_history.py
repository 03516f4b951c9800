"""Add the history of measurements, and the view of changes from one to the next."""

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "017"
down_revision = "016"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
