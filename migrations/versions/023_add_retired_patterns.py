"""Add the table of retired patterns."""

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "023"
down_revision = "022"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
