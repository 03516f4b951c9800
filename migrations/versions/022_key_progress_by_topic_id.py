"""Key progress and gaps by the ID of the topic."""

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "022"
down_revision = "021"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
