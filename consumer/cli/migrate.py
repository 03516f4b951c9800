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
    tell_target,
)
from pattern_metrics.consumer.cli.output import fail, tell

T = TypeVar("T")


migrate_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Migrate the database's schema up or down, or report its revision.",
)


@migrate_app.command("up")
def migrate_up_command(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Migrate the database to this release's revision.

    It is safe to run twice, by two processes at once, and after an interruption. Readers and writers go on
    meanwhile. A database that has the table from another program, with missing columns or duplicates, or half
    migrated, is migrated too. The command also creates the roles and grants the rights that are missing;
    without the right to create roles it prints a warning and does the rest.

    Exit code 1: a table was locked for 60 s; run it again.
    """
    from pattern_metrics.consumer.operations.migration import HEAD_REVISION, migrate_up

    applied = run_on_schema(migrate_up, database_url, is_reported=True)
    if as_json:
        typer.echo(json.dumps({"applied": applied}))
    else:
        typer.echo(f"applied {', '.join(applied)}" if applied else f"already at {HEAD_REVISION}")


@migrate_app.command("down")
def migrate_down_command(
    revision: Annotated[
        str,
        typer.Argument(
            metavar="REVISION", help="The revision to go back to, such as 019; base removes all of them."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Migrate the database back to a revision. For development: it deletes data.

    Going below 017 needs an empty history. Going below 016 deletes the status of dead letters. Going below
    015 deletes dead letters, progress and gaps. The command first prints what it would delete, with counts.
    It deletes with --yes, or after a question on a terminal.

    Exit code 2: the command would delete data, and neither --yes nor an answer agreed. Nothing was changed.
    """
    from pattern_metrics.consumer.operations.migration import losses_of_migrate_down, migrate_down

    losses = run_on_schema(lambda url: losses_of_migrate_down(url, revision), database_url, is_reported=True)
    if losses:
        tell(f"migrate down {revision} deletes {', '.join(losses)}")
        if not (yes or (sys.stdin.isatty() and typer.confirm("Delete it?", err=True))):
            fail("nothing was done: add --yes to delete it", 2)
    undone = run_on_schema(lambda url: migrate_down(url, revision), database_url, is_reported=False)
    if as_json:
        typer.echo(json.dumps({"undone": undone}))
    else:
        typer.echo(f"undone {', '.join(undone)}" if undone else f"already at {revision}")


@migrate_app.command("status")
def migrate_status(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Print the database's revision and the revisions that are pending.

    Exit code 1: revisions are pending.
    """
    from pattern_metrics.consumer.operations.migration import migration_status

    status = run_on_schema(migration_status, database_url, is_reported=False)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(status) | {"up_to_date": status.up_to_date}))
    else:
        typer.echo(str(status))
    if not status.up_to_date:
        raise typer.Exit(1)


@migrate_app.command("sql")
def migrate_sql() -> None:
    """Print the migration as an SQL script, for a database administrator to review and run with psql.

    The script may be run on any database, empty or not. Each revision is also a file in migrations/versions.
    """
    from pattern_metrics.consumer.operations.migration import migration_sql

    typer.echo(migration_sql())


def run_on_schema(
    operation: Callable[[str], Coroutine[Any, Any, T]], database_url: str | None, *, is_reported: bool
) -> T:
    """Run an operation on the database; a failure ends the command.

    Args:
        operation: a function of the database's URL.
        database_url: the value of the option --database-url.
        is_reported: whether to report the database first, as before a change.
    """
    url = load_database_url(database_url)
    if is_reported:
        tell_target(url)
    return run(operation(url), POSTGRESQL)
