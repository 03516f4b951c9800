"""The commands that retire patterns, and that forget retired patterns."""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pattern_metrics.consumer.cli.agents import publish_measurements
from pattern_metrics.consumer.cli.common import (
    POSTGRESQL,
    TIME_FORMS,
    Commands,
    DatabaseUrlOption,
    JsonOption,
    load_database_url,
    parse_time,
    read_file,
    run,
    tell_target,
)
from pattern_metrics.consumer.cli.output import fail

if TYPE_CHECKING:
    from pattern_metrics.consumer.operations.files.recognition import Measurements

retirement_app = typer.Typer()
retired_app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Manage the table pattern_quality_retired."
)
retirement_app.add_typer(retired_app, name="retired")


def _text(argument: str) -> str:
    """Return an argument that UTF-8 can hold: a shell may pass any bytes."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("is not UTF-8") from None
    return argument


@retirement_app.command()
def retire(
    patterns: Annotated[
        list[str],
        typer.Argument(
            parser=_text,
            metavar="PATTERN...|-",
            help="The patterns, by id or by name. With - they are the pattern_id of each row on standard "
            "input, for example of `export`.",
        ),
    ],
    because: Annotated[
        str,
        typer.Option(parser=_text, metavar="TEXT", help="The reason, for people: at most 200 characters."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be published. No broker is asked.")
    ] = False,
    outbox: Annotated[
        bool, typer.Option("--outbox", help="Store the events in the outbox (OUTBOX_PATH).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the retirement of patterns that no longer exist.

    A worker moves their rows to the table pattern_quality_retired. A measurement that is older than the
    retirement does not bring a row back, whenever it arrives, and a newer one does. Names are not looked up:
    a pattern without a row is retired, too.

    Exit code 1: a pattern was refused, or an event was not published.
    """
    from pattern_metrics.consumer.operations.retirement import as_retirements, retirements_of

    if "-" in patterns and len(patterns) > 1:
        fail("error: give patterns, or - for standard input, and not both", 2)
    now = datetime.now(UTC)

    def read() -> "Measurements":
        if patterns != ["-"]:
            return retirements_of(patterns, because=because, retired_at=now)
        return as_retirements(read_file(sys.stdin.buffer), because=because, retired_at=now)

    publish_measurements(read, "standard input", total=None, dry_run=dry_run, outbox=outbox, as_json=as_json)


@retired_app.command()
def prune(
    older_than: Annotated[
        datetime,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help=f"Forget what was retired before this time: {TIME_FORMS}.",
        ),
    ],
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget patterns that were retired long ago, with their last rows.

    What this gives up: a measurement that is older than such a retirement, and is read after this, for
    example by a replay, brings the row of its pattern back.
    """
    from pattern_metrics.consumer.operations.retired_patterns import prune_retired

    url = load_database_url(database_url)
    tell_target(url)
    count = run(prune_retired(url, older_than), POSTGRESQL)
    typer.echo(json.dumps({"pruned": count}) if as_json else f"forgot {count:,} retired patterns")
