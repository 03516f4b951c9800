"""Commands about what readers get: the current rows as a file or a page, and how long history is kept."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pattern_metrics.consumer.cli.common import (
    POSTGRESQL,
    TIME_FORMS,
    Commands,
    DatabaseUrlOption,
    JsonOption,
    load_database_url,
    load_settings,
    parse_time,
    run,
    start_logging,
    tell_target,
    writing_output,
)
from pattern_metrics.consumer.cli.output import STANDARD_OUTPUT, fail, tell
from pattern_metrics.consumer.cli.progress import progress_bar
from pattern_metrics.consumer.operations.formats import Format
from pattern_metrics.schemas import extras
from pattern_metrics.schemas.bands import Band

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from pattern_metrics.consumer.operations.row_formats import Column, WriteRows

readers_app = typer.Typer()
history_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Manage the measurements that HISTORY_ENABLED keeps in the table pattern_quality_history.",
)
readers_app.add_typer(history_app, name="history")


@readers_app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="The file to write. With - it is standard output.")
    ] = STANDARD_OUTPUT,
    wanted_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="The format. parquet needs the extra `parquet`. By default it is given by the name of FILE "
            "(.jsonl, .csv, .parquet); for other names it is jsonl.",
            show_default=False,
        ),
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="NUMBER", help="Export patterns with at least this score."),
    ] = None,
    band: Annotated[Band | None, typer.Option(help="Export patterns of this band only.")] = None,
    retired: Annotated[
        bool, typer.Option("--retired", help="Export the retired patterns in place of the current rows.")
    ] = False,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Export the current rows with band and dimensions, ordered by pattern.

    The command reads one snapshot, so that workers may write meanwhile. Memory stays small for any number of
    rows. `backfill` reads each format. In CSV, a cell that a spreadsheet would run as a formula begins with
    an apostrophe, which `backfill` removes. FILE appears when all rows are written, or not at all.

    With --retired, a line of JSON is the event that retired the pattern, with its last row; `backfill` reads
    only the event, and no other format.
    """
    output_format = _format_of(file, wanted_format)
    if retired and (min_quality is not None or band is not None):
        fail("error: --min-quality and --band select current rows, and --retired exports others", 2)
    if output_format is Format.PARQUET:
        extras.require("parquet")
    from pattern_metrics.consumer.operations.export import export_rows
    from pattern_metrics.consumer.operations.row_formats import WRITERS

    url = load_database_url(database_url)
    is_terminal = file == STANDARD_OUTPUT and sys.stdout.isatty()
    if output_format is Format.PARQUET and is_terminal:
        fail("error: Parquet is not for a terminal: give a FILE", 2)
    with writing_output(file) as write, progress_bar("exporting", visible=not is_terminal) as bar:

        def open_writer(columns: "Sequence[Column]") -> "AbstractContextManager[WriteRows]":
            return WRITERS[output_format](columns, write)

        exported = run(
            export_rows(
                url,
                min_quality=min_quality,
                band=band,
                retired=retired,
                open_writer=open_writer,
                advance=bar.reach,
            ),
            POSTGRESQL,
        )
    if exported.odd_times and output_format is Format.PARQUET:
        tell(
            f"{exported.odd_times:,} times outside of the years 1 to 9999 are null in the file; "
            "jsonl and csv keep them"
        )
    tell(f"exported {exported.rows:,} patterns")


def _format_of(file: Path, wanted: Format | None) -> Format:
    promised = Format.of_name(file.name)
    if wanted and promised and wanted is not promised:
        fail(f"error: {file}: its ending says {promised}, and --format {wanted}", 2)
    if not wanted and not promised and file.suffix:
        tell(f"{file}: its ending names no format that export writes: this is JSON Lines")
    return wanted or promised or Format.JSONL


@readers_app.command()
def dashboard(database_url: DatabaseUrlOption = None) -> None:
    """Serve the page and the read API without a worker, at HTTP_HOST and HTTP_PORT.

    Both read only the database, and with KAFKA_BOOTSTRAP_SERVERS also the topic, for the search of an event.
    A login with the rights of pattern_metrics_reader is enough, and so is a replica. Other machines than this
    one need a token of API_TOKENS_FILE. Ctrl-C or SIGTERM ends the command.
    """
    from pattern_metrics.consumer.dashboard.alone import serve_alone
    from pattern_metrics.consumer.http.access import load_access
    from pattern_metrics.consumer.http.listening import take_port
    from pattern_metrics.consumer.settings import DashboardSettings, InvalidSettingError, WorkerSettings
    from pattern_metrics.schemas.settings.variables import find_variables

    settings = load_settings(DashboardSettings, database_url)
    has_kafka = find_variables(["kafka_bootstrap_servers"])
    topics = load_settings(WorkerSettings, database_url) if has_kafka else None
    start_logging()
    if settings.http_port == 0:
        fail("error: HTTP_PORT: 0 turns HTTP off, and nothing else is served here", 2)
    try:
        access = load_access(settings)
        listener = take_port(settings)
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)
    run(
        serve_alone(
            settings,
            access,
            topics,
            listener,
            lambda address: typer.echo(f"the page is at {address} (Ctrl-C ends it)"),
        ),
        POSTGRESQL,
    )


@history_app.command()
def prune(
    older_than: Annotated[
        datetime,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help=f"Delete what was measured before this time: {TIME_FORMS}.",
        ),
    ],
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old measurements from the history. The current rows stay.

    Workers may run meanwhile. The command can be interrupted; deleted rows stay deleted. A replay of a topic
    that still holds such a measurement writes it again.
    """
    from pattern_metrics.consumer.operations.history import prune_history

    url = load_database_url(database_url)
    tell_target(url)
    with progress_bar("pruning") as bar:
        count = run(prune_history(url, older_than, bar.reach), POSTGRESQL)
    typer.echo(json.dumps({"pruned": count}) if as_json else f"pruned {count:,} measurements")
