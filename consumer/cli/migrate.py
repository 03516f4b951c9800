"""The commands of the schema."""

import dataclasses
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from pattern_metrics.consumer.cli.common import (
    POSTGRESQL,
    Commands,
    DatabaseUrlOption,
    JsonOption,
    load_database_url,
    run,
)
from pattern_metrics.consumer.cli.output import fail, tell

T = TypeVar("T")

migrate_app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Bring the database's schema up, down, or say where it is."
)


@migrate_app.command("up")
def migrate_up_command(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Bring the database to this release's revision. Safe to run twice, and by two processes at once."""
    from pattern_metrics.consumer.operations.migration import HEAD_REVISION, migrate_up

    applied = run_on_schema(migrate_up, database_url)
    if as_json:
        typer.echo(json.dumps({"applied": applied}))
    else:
        typer.echo(f"applied {', '.join(applied)}" if applied else f"already at {HEAD_REVISION}")


@migrate_app.command("down")
def migrate_down_command(
    revision: Annotated[str, typer.Argument(help="The revision to go back to, or base for none.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the database back. If that deletes rows, it counts them, and needs --yes or a terminal to ask."""
    from pattern_metrics.consumer.operations.migration import losses_of_migrate_down, migrate_down

    losses = run_on_schema(lambda url: losses_of_migrate_down(url, revision), database_url)
    if losses:
        tell(f"migrate down {revision} deletes {', '.join(losses)}")
        if not (yes or (sys.stdin.isatty() and typer.confirm("Delete it?", err=True))):
            fail("nothing was done: say --yes to delete it", 2)
    undone = run_on_schema(lambda url: migrate_down(url, revision), database_url)
    if as_json:
        typer.echo(json.dumps({"undone": undone}))
    else:
        typer.echo(f"undone {', '.join(undone)}" if undone else f"already at {revision}")


@migrate_app.command("status")
def migrate_status(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Say where the database stands; exit 1 where revisions are pending."""
    from pattern_metrics.consumer.operations.migration import migration_status

    status = run_on_schema(migration_status, database_url)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(status) | {"up_to_date": status.up_to_date}))
    else:
        typer.echo(str(status))
    if not status.up_to_date:
        raise typer.Exit(1)


@migrate_app.command("sql")
def migrate_sql() -> None:
    """Print the whole script, for a DBA to review and run with psql on any database, empty or not."""
    from pattern_metrics.consumer.operations.migration import migration_sql

    typer.echo(migration_sql())


def run_on_schema(operation: Callable[[str], Coroutine[Any, Any, T]], database_url: str | None) -> T:
    """Run an operation on the database; a failure ends the command.

    Args:
        operation: it takes the database's URL.
        database_url: the value of the option --database-url.
    """
    return run(operation(load_database_url(database_url)), POSTGRESQL)
