"""Drop the foreign key to the lineage table."""

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "013"
down_revision = "012"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
