"""Allow one row per pattern."""

from asyncpg import UniqueViolationError

from pattern_metrics.migrations.sql_files import run_downwards, run_upwards

revision = "014"
down_revision = "013"

ATTEMPTS = 5


def upgrade() -> None:
    """Run the SQL file of the same name.

    A pattern that two writers insert at the same moment can make the unique index fail. The next attempt
    moves the older row.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            run_upwards(__file__)
        except UniqueViolationError:
            continue
        return
    run_upwards(__file__)


def downgrade() -> None:
    """Run the SQL file that reverts it."""
    run_downwards(__file__)
