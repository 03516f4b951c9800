"""Add the ID of the topic in which progress was made."""

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "019"
down_revision = "018"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
