"""Commands for records that could not be decoded or stored."""

import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from pattern_metrics.consumer.cli.common import (
    POSTGRESQL,
    TIME_FORMS,
    Commands,
    DatabaseUrlOption,
    JsonOption,
    coordinates,
    load_database_url,
    load_settings,
    parse_time,
    run,
    tell_target,
    writing_output,
)
from pattern_metrics.consumer.cli.output import STANDARD_OUTPUT, fail, tell
from pattern_metrics.consumer.cli.progress import progress_bar
from pattern_metrics.consumer.dead_letters.selection import (
    DISCARDED,
    OPEN,
    REDRIVEN,
    Coordinates,
    Selection,
)
from pattern_metrics.schemas.dead_letter import RejectReason

if TYPE_CHECKING:
    from rich.table import Table

    from pattern_metrics.consumer.dead_letters.letters import DeadLetter

T = TypeVar("T")

LIST_ROWS: Final = 50

_PIPE_COLUMNS: Final = 1000

dead_letters_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="List, show, redrive, discard, export or prune the records that could not be decoded or stored.",
)


# Arguments


_COORDINATES: Final = "TOPIC/PARTITION/OFFSET"

CoordinatesArgument = Annotated[
    list[Coordinates] | None,
    typer.Argument(parser=coordinates, metavar=_COORDINATES, help="The letters with these coordinates."),
]
ReasonOption = Annotated[
    RejectReason | None,
    typer.Option(metavar="REASON", help=f"Letters with this reason: {', '.join(RejectReason)}."),
]
TopicOption = Annotated[
    str | None,
    typer.Option(metavar="TOPIC", help="Letters from this topic; file:NAME for the lines of a backfill."),
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_time, metavar="TIME", help=f"Letters noticed at this time or later: {TIME_FORMS}."
    ),
]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per letter and line.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="All open letters. Required if nothing else chooses letters.")
]


def _run(work: Coroutine[Any, Any, T]) -> T:
    return run(work, POSTGRESQL)


def _require_selection(url: str, selection: Selection, *, everything: bool) -> None:
    """End the command if it names no letters, or letters that do not exist."""
    from pattern_metrics.consumer.dead_letters.letters import missing
    from pattern_metrics.consumer.dead_letters.text import safe_text

    if selection == Selection() and not everything:
        fail(f"error: which letters? Give {_COORDINATES}, --reason, --topic, --since, or --all", 2)
    absent = _run(missing(url, selection.coordinates))
    if absent:
        fail(f"error: no dead letter at {safe_text(', '.join(map(str, absent)))}", 1)


# Output


@contextmanager
def _writing_lines(path: Path) -> Iterator[Callable[[bytes], None]]:
    with writing_output(path) as write:
        yield lambda line: write(line + b"\n")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, default=datetime.isoformat).encode()


# The commands


@dead_letters_app.command("list")
def list_command(
    status: Annotated[
        str,
        typer.Option(
            metavar="STATUS", help=f"Letters with this status: {OPEN}, {REDRIVEN}, {DISCARDED} or all."
        ),
    ] = OPEN,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"The most letters to list. By default {LIST_ROWS}, and with --json all.",
        ),
    ] = None,
    database_url: DatabaseUrlOption = None,
    as_json: JsonLinesOption = False,
) -> None:
    """List dead letters, the newest first."""
    from pattern_metrics.consumer.dead_letters.letters import count_letters, list_letters

    if status not in {OPEN, REDRIVEN, DISCARDED, "all"}:
        raise typer.BadParameter(
            f"{status!r} is none of {OPEN}, {REDRIVEN}, {DISCARDED}, all", param_hint="--status"
        )
    selection = Selection(None if status == "all" else status, reason, topic, since)
    url = load_database_url(database_url)
    if as_json:
        with _writing_lines(STANDARD_OUTPUT) as write:
            _run(list_letters(url, selection, limit, lambda row: write(_json(row))))
        return
    rows = list[dict[str, Any]]()
    _run(list_letters(url, selection, limit or LIST_ROWS, rows.append))
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a pipe has no width to cut the rows to
        console.width = _PIPE_COLUMNS
    console.print(_table(rows, with_status=selection.status is None))
    console.print(f"{len(rows):,} of {_run(count_letters(url, selection)):,}", highlight=False)


def _table(rows: list[dict[str, Any]], *, with_status: bool) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from pattern_metrics.consumer.dead_letters.text import safe_text, time_text

    status = ("status",) if with_status else ()
    table = Table("letter", "reason", *status, "noticed", "detail", box=None, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for row in rows:
        letter = Coordinates(row["topic"], row["partition"], row["offset"])
        cells = [
            str(letter),
            row["reason"],
            *(row[name] for name in status),
            time_text(row["noticed_at"]),
            row["detail"],
        ]
        table.add_row(*(Text(safe_text(cell), no_wrap=True, overflow="ellipsis") for cell in cells))
    return table


@dead_letters_app.command()
def show(
    coordinates: Annotated[
        Coordinates,
        typer.Argument(parser=coordinates, metavar=_COORDINATES, help="The coordinates of the letter."),
    ],
    database_url: DatabaseUrlOption = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Show a dead letter with its bytes, the reason, and the commands that repair it.

    If the topic was recreated, several records may have had the same coordinates: all of them are shown.

    Exit code 1: there is no such dead letter.
    """
    from pattern_metrics.consumer.dead_letters.letters import read_letters
    from pattern_metrics.consumer.dead_letters.text import letter_fields, letter_text, safe_text

    found: list[DeadLetter] = []
    selection = Selection(status=None, coordinates=[coordinates])
    _run(read_letters(load_database_url(database_url), selection, found.append, lambda _done, _total: None))
    for letter in found:
        typer.echo(_json(letter_fields(letter)) if as_json else "\n".join(letter_text(letter)))
    if not found:
        fail(f"error: no dead letter at {safe_text(str(coordinates))}", 1)


def _envelope() -> tuple[str, ...]:
    from pattern_metrics.consumer.settings import EnvelopeSettings

    return load_settings(EnvelopeSettings).envelope


@dead_letters_app.command()
def redrive(
    coordinates: CoordinatesArgument = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    everything: AllOption = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode open letters again, by the current rules and settings, and store them.

    Letters that are stored, or superseded by now, are marked as redriven. Nothing is deleted. Letters that
    are refused again stay open, with the new reason. Workers may run meanwhile. The command can be run twice
    and interrupted.

    Exit code 1: a letter was refused again, or does not exist.
    """
    from pattern_metrics.consumer.dead_letters.redrive import redrive as redrive_letters
    from pattern_metrics.consumer.postgres.shadow import open_store
    from pattern_metrics.consumer.settings import DatabaseSettings
    from pattern_metrics.schemas.settings.clock import ClockSettings

    url, clock, envelope = load_database_url(database_url), load_settings(ClockSettings), _envelope()
    selection = Selection(OPEN, reason, topic, since, coordinates or ())
    _require_selection(url, selection, everything=everything)
    tell_target(url)
    store = open_store(load_settings(DatabaseSettings, database_url), dry_run=False)
    with progress_bar("redriving") as bar:
        accounting = _run(
            redrive_letters(
                store,
                selection,
                accepted_until=clock.accepted_until,
                advance=bar.reach,
                envelope=envelope,
            )
        )
    typer.echo(json.dumps(accounting.as_dict()) if as_json else str(accounting))
    if accounting.dead_letters:
        raise typer.Exit(1)


@dead_letters_app.command()
def discard(
    because: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which is kept with the letters.")],
    coordinates: CoordinatesArgument = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    everything: AllOption = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark open letters as discarded, so that they need no further attention.

    All chosen letters are marked, or none. Nothing is deleted.

    Exit code 1: a letter does not exist.
    """
    from pattern_metrics.consumer.dead_letters.letters import discard as discard_letters

    if not because.strip():
        raise typer.BadParameter("say why", param_hint="--because")
    url = load_database_url(database_url)
    selection = Selection(OPEN, reason, topic, since, coordinates or ())
    _require_selection(url, selection, everything=everything)
    tell_target(url)
    count = _run(discard_letters(url, selection, because))
    typer.echo(json.dumps({"discarded": count}) if as_json else f"discarded {count:,} dead letters")


@dead_letters_app.command()
def prune(
    older_than: Annotated[
        datetime,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help=f"Delete letters that were resolved before this time: {TIME_FORMS}.",
        ),
    ],
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete letters that were redriven or discarded long ago. Open letters are never deleted.

    A replay of a topic that still holds such a record creates the letter again.
    """
    from pattern_metrics.consumer.dead_letters.letters import prune as prune_letters

    url = load_database_url(database_url)
    tell_target(url)
    count = _run(prune_letters(url, older_than))
    typer.echo(json.dumps({"pruned": count}) if as_json else f"pruned {count:,} dead letters")


@dead_letters_app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="The file to write. With - it is standard output.")
    ],
    coordinates: CoordinatesArgument = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Export open letters as JSON Lines, to be edited and published again.

    A value that is JSON is written as it is, on one line. Any other value becomes {"dead_letter":
    "TOPIC/PARTITION/OFFSET", "reason": ..., "value": TEXT}, with "value_base64" for bytes that are not text.
    `publish` refuses such a line until it is replaced by an event. When the corrected events are published,
    discard the letters:

    pattern-metrics dead-letters discard TOPIC/PARTITION/OFFSET... --because "published again"
    """
    from pattern_metrics.consumer.dead_letters.letters import export_line, read_letters

    url, counts, envelope = load_database_url(database_url), [0, 0], _envelope()
    selection = Selection(OPEN, reason, topic, since, coordinates or ())
    visible = file != STANDARD_OUTPUT or not sys.stdout.isatty()
    with _writing_lines(file) as write, progress_bar("exporting", visible=visible) as bar:

        def write_letter(letter: "DeadLetter") -> None:
            line, is_json = export_line(letter, envelope)
            counts[is_json] += 1
            write(line)

        _run(read_letters(url, selection, write_letter, bar.reach))
    tell(f"exported {counts[True]:,} values as they are, {counts[False]:,} that are not JSON")
