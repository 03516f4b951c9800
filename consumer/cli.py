"""Every command; no logic of its own.

Exit 0: done and true. 1: a check failed, or part of the input was refused. 2: wrong usage or settings.
"""

import asyncio
import dataclasses
import json
import socket
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import structlog
import typer

from pattern_metrics.consumer.command_line import (
    KAFKA,
    POSTGRESQL,
    JsonOption,
    end_output,
    fail,
    input_size,
    load_settings,
    open_closed_streams,
    progress_bar,
    require_open_files,
    run,
    start_logging,
    tell,
    tracing,
)
from pattern_metrics.consumer.commands_dead_letters import dead_letters_app
from pattern_metrics.consumer.commands_operations import operations_app
from pattern_metrics.consumer.commands_readers import readers_app
from pattern_metrics.consumer.settings import (
    DatabaseSettings,
    InvalidSettingError,
    LogSettings,
    WorkerSettings,
)
from pattern_metrics.consumer.telemetry.logs import configure_logging
from pattern_metrics.consumer.worker.processes.fork_server import Forked, ForkServer, start_fork_server
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings

if TYPE_CHECKING:
    from pattern_metrics.consumer.records.accounting import Accounting

T = TypeVar("T")

PROCESSES_MAX: Final = 64

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    help="Kafka to PostgreSQL, one current row per pattern. Settings: the environment, or a .env file.",
)
migrate_app = typer.Typer(
    no_args_is_help=True, help="Bring the database's schema up, down, or say where it is."
)
topic_app = typer.Typer(no_args_is_help=True, help="The topic of the events.")
app.add_typer(migrate_app, name="migrate")
app.add_typer(topic_app, name="topic")
app.add_typer(operations_app)
app.add_typer(readers_app)
app.add_typer(dead_letters_app, name="dead-letters")


def main() -> None:
    """The entry point; an error that nobody expected is logged with its traceback, and the exit code is 1."""
    open_closed_streams()
    configure_logging(LogSettings.model_construct())  # until a command does as the settings say
    sys.exit(end_output(_run_command()))


def _run_command() -> int:
    try:
        return app(prog_name="pattern-metrics", standalone_mode=False) or 0
    except typer.TyperException as error:  # wrong usage; without a message, the help was shown
        if message := " ".join(error.format_message().split()):
            tell(f"error: {message}")
        return error.exit_code
    except OSError as error:  # a server's is told by `run`
        tell(f"error: {'' if error.filename else 'standard output: '}{error}")
    except asyncio.CancelledError:
        structlog.get_logger().warning("stopped_at_once", hint="by a second signal; the rest is read again")
    except Exception:  # noqa: BLE001 - the outermost place: nothing escapes without being logged
        structlog.get_logger().exception("failed")
    return 1


# The worker


@app.command()
def consume(
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Read to the log's end as of now, then exit 0.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether Kafka, topic, database and revision are right.")
    ] = False,
    processes: Annotated[
        int,
        typer.Option(min=1, max=PROCESSES_MAX, help="How many share the work, each with a core of its own."),
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Read the topic and keep one current row per pattern: the worker to deploy.

    SIGTERM, SIGHUP or Ctrl-C: write and commit the batch in hand, leave the group, exit 0. Twice: at once.
    Meanwhile the page, /livez, /readyz and /metrics are served at HTTP_HOST and HTTP_PORT, of all processes
    as one.
    """
    from pattern_metrics.consumer.http.listening import listen

    settings = load_settings(WorkerSettings)
    if check:
        _check(settings)
        return
    server = _start_fork_server() if processes > 1 else None
    member = server if isinstance(server, Forked) else None
    if member is not None:
        from pattern_metrics.consumer.worker.processes.member import settings_of

        settings = settings_of(member.number, settings)
    configure_logging(load_settings(LogSettings), is_patient=True, process=member.number if member else None)
    require_open_files()
    try:
        listener = None if until_caught_up else listen(settings)  # what ends by itself is no service to watch
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)

    with tracing():
        if isinstance(server, ForkServer):
            working = _supervise(settings, listener, server, processes, until_caught_up=until_caught_up)
        else:
            working = _work(settings, listener, member, until_caught_up=until_caught_up)
        accounting, code = run(working, KAFKA)
    if as_json:
        typer.echo(json.dumps(accounting.as_dict()))
    elif until_caught_up:
        typer.echo(str(accounting))
    if code:
        raise typer.Exit(code)


def _start_fork_server() -> ForkServer | Forked:
    """With all that a worker imports, which its processes then share."""
    import pattern_metrics.consumer.dashboard.page
    import pattern_metrics.consumer.http.server
    import pattern_metrics.consumer.worker.processes.supervisor  # noqa: F401 - imported for what is forked from here

    return start_fork_server()


async def _work(
    settings: WorkerSettings, listener: socket.socket | None, member: Forked | None, *, until_caught_up: bool
) -> "tuple[Accounting, int]":
    """What became of the records, and the exit code."""
    from pattern_metrics.consumer.dashboard.page import Page, Watched
    from pattern_metrics.consumer.http.probes import serving
    from pattern_metrics.consumer.worker.processes.member import reporting
    from pattern_metrics.consumer.worker.worker import Worker, run_until_signal

    worker = Worker(settings)
    watched = Watched(worker.health, worker.metrics, settings.kafka_group_id, settings.kafka_topic)
    page = Page(settings, watched)
    supervisor = member.connection if member else None
    async with serving(listener, worker.health, worker.metrics, page), reporting(worker, supervisor):
        await run_until_signal(worker, until_caught_up=until_caught_up)
    if until_caught_up and not worker.reached_end:
        who = "" if member is None else f"process {member.number}: "
        why = "the breaker opened (DEAD_LETTER_MAX_CONSECUTIVE)" if worker.breaker.is_open else "stopped"
        tell(f"error: {who}{why} before the end was reached")
        return worker.accounting, 1
    return worker.accounting, 0


async def _supervise(
    settings: WorkerSettings,
    listener: socket.socket | None,
    server: ForkServer,
    processes: int,
    *,
    until_caught_up: bool,
) -> "tuple[Accounting, int]":
    """As `_work`, by several processes."""
    from pattern_metrics.consumer.dashboard.page import Page, Watched
    from pattern_metrics.consumer.http.probes import serving
    from pattern_metrics.consumer.worker.processes.supervisor import Supervisor

    supervisor = Supervisor(settings, server, processes, until_caught_up=until_caught_up)
    watched = Watched(supervisor, supervisor, settings.kafka_group_id, settings.kafka_topic)
    page = Page(settings, watched)
    async with serving(listener, supervisor, supervisor, page, is_alive=supervisor.is_alive):
        is_well = await supervisor.run()
    return supervisor.accounting, 0 if is_well else 1


def _check(settings: WorkerSettings) -> None:
    from pattern_metrics.consumer.kafka.broker import require_rights, require_topic
    from pattern_metrics.consumer.operations.migration import migration_status
    from pattern_metrics.consumer.postgres.store import missing_rights

    start_logging()
    with tracing():
        run(require_topic(settings), KAFKA)
    run(require_rights(settings), KAFKA)
    status = _migrate(migration_status)
    if not status.up_to_date:
        fail(f"error: {POSTGRESQL}: lacks revisions {', '.join(status.pending)}; run migrate up", 2)
    missing = run(missing_rights(settings.database_url.get_secret_value()), POSTGRESQL)
    if missing:
        hint = "make the login a member of pattern_metrics_worker"
        fail(f"error: {POSTGRESQL}: lacks the right to {', '.join(missing)}; {hint}", 2)
    tell("ok: Kafka, topic, database and revision are as the worker needs them")


# The agents' side


@app.command()
def score(
    paths: Annotated[list[Path], typer.Argument(help="Python files, or directories to search for them.")],
) -> None:
    """Score Python code and write one event per function and class as JSON Lines to stdout.

    Nothing is executed. A file that does not parse is reported and skipped; the exit code is then 1.
    """
    from pattern_metrics.publisher.scoring.scorer import UnreadableFile, find_sources, score_file

    try:
        sources = find_sources(paths)
    except FileNotFoundError as error:
        fail(f"error: {error}", 2)
    measured_at, skipped = datetime.now(UTC), 0
    watched = not sys.stdout.isatty()
    with progress_bar("scoring", total=len(sources), visible=watched) as bar:
        for source in sources:
            for result in score_file(source, measured_at=measured_at):
                if isinstance(result, UnreadableFile):
                    skipped += 1
                    tell(f"skipped {result.path}: {result.reason}")
                else:
                    sys.stdout.buffer.write(result.to_json() + b"\n")
            bar.advance(1)
    if skipped:
        fail(f"{skipped} of {len(sources)} files could not be read", 1)


@app.command()
def publish(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help="JSON Lines; - for standard input.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Publish events from JSON Lines.

    An invalid line is reported by its number and reason; the valid ones are published; exit 1. An event
    without an event_id gets the one derived from its content: to publish a file twice is a retry, and not a
    second measurement.
    """
    from pattern_metrics.consumer.operations.publish import PublishReport, publish_file
    from pattern_metrics.publisher import PublishError

    settings, accepted_until = load_settings(KafkaSettings), load_settings(ClockSettings).accepted_until()
    start_logging()
    report = PublishReport()
    try:
        with progress_bar("publishing", total=input_size(file), visible=True) as bar:
            run(
                publish_file(
                    settings,
                    file,
                    accepted_until=accepted_until,
                    report=report,
                    on_refused=lambda number, error: tell(f"line {number}: {error}"),
                    advance=bar.advance,
                ),
                KAFKA,
            )
    except PublishError as error:
        tell(f"error: {error}; publish the file again: it is a retry")
    except KeyboardInterrupt:
        tell("interrupted; publish the file again: it is a retry")
    typer.echo(json.dumps(report.as_dict()) if as_json else str(report))
    if not report.is_complete:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the event's JSON Schema (2020-12): all that an agent in another language needs."""
    from pattern_metrics.schemas.generate import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@topic_app.command("create")
def topic_create(
    partitions: Annotated[int, typer.Option(min=1, help="How many workers can share the topic at most.")] = 6,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Copies; by default three, or one a broker where there are fewer."),
    ] = None,
) -> None:
    """Create KAFKA_TOPIC; one that is there is fine."""
    from pattern_metrics.consumer.kafka.broker import create_topic

    settings = load_settings(KafkaSettings)
    start_logging()
    created = run(create_topic(settings, partitions=partitions, replication_factor=replication_factor), KAFKA)
    typer.echo(f"topic {settings.kafka_topic} {'created' if created else 'is there already'}")


# The database


@migrate_app.command("up")
def migrate_up_command() -> None:
    """Bring the database to this release's revision. Safe to run twice, and by two processes at once."""
    from pattern_metrics.consumer.operations.migration import HEAD_REVISION, migrate_up

    applied = _migrate(migrate_up)
    typer.echo(f"applied {', '.join(applied)}" if applied else f"already at {HEAD_REVISION}")


@migrate_app.command("down")
def migrate_down_command(
    revision: Annotated[str, typer.Argument(help="The revision to go back to, or base for none.")],
) -> None:
    """Take the database back. To go below 015 deletes progress, gaps and dead letters."""
    from pattern_metrics.consumer.operations.migration import migrate_down

    undone = _migrate(lambda database_url: migrate_down(database_url, revision))
    typer.echo(f"undone {', '.join(undone)}" if undone else f"already at {revision}")


@migrate_app.command("status")
def migrate_status(as_json: JsonOption = False) -> None:
    """Say where the database stands; exit 1 where revisions are pending."""
    from pattern_metrics.consumer.operations.migration import migration_status

    status = _migrate(migration_status)
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


def _migrate(operation: Callable[[str], Coroutine[Any, Any, T]]) -> T:
    from pattern_metrics.consumer.operations.migration import MigrationError

    settings = load_settings(DatabaseSettings)
    start_logging()
    try:
        return run(operation(settings.database_url.get_secret_value()), POSTGRESQL)
    except MigrationError as error:
        fail(f"error: {POSTGRESQL}: {error}", 2)


# The demonstration


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up, and print how to connect.")] = False,
) -> None:
    """See the main job done in under a minute, on an embedded broker and PostgreSQL (extra `embedded`)."""
    from pattern_metrics.consumer.demo.demo import run_demo
    from pattern_metrics.consumer.demo.embedded import EmbeddedServerError

    configure_logging(LogSettings(log_level="ERROR"))
    try:
        run(run_demo(keep=keep), "demo")
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)
    except EmbeddedServerError as error:
        fail(f"error: {error}", 1)
