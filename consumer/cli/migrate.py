"""The commands of the schema."""

import dataclasses
import json
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

T = TypeVar("T")


migrate_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Migrate the database's schema up or down, or report its revision.",
)


@migrate_app.command("up")
def migrate_up_command(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Migrate the database to this release's revision.

    It is safe to run twice, and by two processes at once. All revisions are one transaction. A database that
    has the table from another program, with duplicates, or half migrated, is migrated too. The command also
    creates the roles and grants the rights that are missing; without the right to create roles it prints a
    warning and does the rest.

    Exit code 1: a table was locked for 60 s, and nothing was changed; run it again.
    """
    from pattern_metrics.consumer.operations.migration import HEAD_REVISION, migrate_up

    applied = run_on_schema(migrate_up, database_url, changes=True)
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
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Migrate the database back to a revision. For development: it deletes data.

    Going below 017 needs an empty history. Going below 016 deletes the status of dead letters. Going below
    015 deletes dead letters, progress and gaps.
    """
    from pattern_metrics.consumer.operations.migration import migrate_down

    undone = run_on_schema(lambda url: migrate_down(url, revision), database_url, changes=True)
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

    status = run_on_schema(migration_status, database_url, changes=False)
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
    operation: Callable[[str], Coroutine[Any, Any, T]], database_url: str | None, *, changes: bool
) -> T:
    """Run an operation on the database; a failure ends the command.

    Args:
        operation: it takes the database's URL.
        database_url: the value of the option --database-url.
        changes: whether the operation changes the database, which is then reported before.
    """
    url = load_database_url(database_url)
    if changes:
        tell_target(url)
    return run(operation(url), POSTGRESQL)
