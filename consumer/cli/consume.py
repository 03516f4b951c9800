"""The command `consume`: the worker."""

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pattern_metrics.consumer.cli.common import (
    KAFKA,
    DatabaseUrlOption,
    JsonOption,
    load_settings,
    require_open_files,
    run,
    tracing,
)
from pattern_metrics.consumer.cli.output import fail, tell
from pattern_metrics.schemas import extras

if TYPE_CHECKING:
    import socket

    from pattern_metrics.consumer.http.access import Access
    from pattern_metrics.consumer.records.accounting import Accounting
    from pattern_metrics.consumer.settings import WorkerSettings
    from pattern_metrics.consumer.worker.processes.fork_server import Forked, ForkServer


PROCESSES_MAX: Final = 64

consume_app = typer.Typer()


@consume_app.command()
def consume(
    until_caught_up: Annotated[
        bool,
        typer.Option(
            "--until-caught-up",
            help="Read to the end of the topic as of the start, then exit. HTTP is not served.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check that Kafka, the topic, the database, its revision and all rights are as the worker "
            "needs them, and that the address of each partition's leader accepts a connection, then exit.",
        ),
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=PROCESSES_MAX,
            metavar="N",
            help="The number of processes that share the work as members of the group, each on a core of its "
            "own. A process that ends is started again.",
        ),
    ] = 1,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the worker: read the topic and keep one current row per pattern.

    SIGTERM, SIGHUP or Ctrl-C stops the worker: it writes and commits the batch in flight, leaves the group
    and exits with 0. A second signal stops it at once; the batch is read again later.

    The page, /livez, /readyz and /metrics are served at HTTP_HOST and HTTP_PORT. With --processes, signals,
    health, metrics and the page are those of all processes together. If KAFKA_GROUP_INSTANCE_ID is set, the
    other processes go on reading while one is started again.

    Exit code 1: the worker was stopped by a second signal, made no progress after three new Kafka clients,
    ended before the end with --until-caught-up, or had to kill one of its processes. Exit code 2: a setting
    is wrong, the HTTP port is in use, or --check found something missing (1 if a server is not reachable).
    """
    extras.require("worker")
    from pattern_metrics.consumer.http.access import load_access
    from pattern_metrics.consumer.http.listening import listen
    from pattern_metrics.consumer.settings import InvalidSettingError, LogSettings, WorkerSettings
    from pattern_metrics.consumer.telemetry.logs import configure_logging
    from pattern_metrics.consumer.worker.processes.fork_server import Forked, ForkServer

    settings = load_settings(WorkerSettings, database_url)
    if check:
        from pattern_metrics.consumer.cli.check import check as check_all

        check_all(settings, as_json=as_json)
        return
    server = _start_fork_server() if processes > 1 else None
    member = server if isinstance(server, Forked) else None
    if member is not None:
        from pattern_metrics.consumer.worker.processes.member import settings_of

        settings = settings_of(member.number, settings)
    configure_logging(load_settings(LogSettings), is_patient=True, process=member.number if member else None)
    require_open_files()
    try:
        # A run that ends by itself is not a service to watch.
        listener = None if until_caught_up else listen(settings)
        access = load_access(settings)
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)

    with tracing():
        if isinstance(server, ForkServer):
            served = listener, access
            working = _supervise(settings, served, server, processes, until_caught_up=until_caught_up)
        else:
            working = _work(settings, (listener, access), member, until_caught_up=until_caught_up)
        accounting, code = run(working, KAFKA)
    if as_json:
        typer.echo(json.dumps(accounting.as_dict()))
    elif until_caught_up:
        typer.echo(str(accounting))
    if code:
        raise typer.Exit(code)


def _start_fork_server() -> "ForkServer | Forked":
    """Start the fork server after the worker's imports, which its processes then share."""
    import pattern_metrics.consumer.dashboard.page
    import pattern_metrics.consumer.http.server
    import pattern_metrics.consumer.worker.processes.supervisor  # noqa: F401 - imported for the forked processes
    from pattern_metrics.consumer.worker.processes.fork_server import start_fork_server

    return start_fork_server()


async def _work(
    settings: "WorkerSettings",
    served: "tuple[socket.socket | None, Access]",
    member: "Forked | None",
    *,
    until_caught_up: bool,
) -> "tuple[Accounting, int]":
    """Run one worker. Return the outcome of the records, and the exit code."""
    from pattern_metrics.consumer.api.ingestion import Watched
    from pattern_metrics.consumer.dashboard.page import Page
    from pattern_metrics.consumer.http.probes import serving
    from pattern_metrics.consumer.worker.processes.member import reporting
    from pattern_metrics.consumer.worker.worker import Worker, run_until_signal

    worker = Worker(settings)
    watched = Watched(worker.health, worker.metrics, settings.kafka_group_id, settings.kafka_topics)
    listener, access = served
    page = Page(settings, watched, access=access, topics=settings)
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
    settings: "WorkerSettings",
    served: "tuple[socket.socket | None, Access]",
    server: "ForkServer",
    processes: int,
    *,
    until_caught_up: bool,
) -> "tuple[Accounting, int]":
    """Run several processes. Return the outcome of the records, and the exit code."""
    from pattern_metrics.consumer.api.ingestion import Watched
    from pattern_metrics.consumer.dashboard.page import Page
    from pattern_metrics.consumer.http.probes import serving
    from pattern_metrics.consumer.worker.processes.supervisor import Supervisor

    supervisor = Supervisor(settings, server, processes, until_caught_up=until_caught_up)
    watched = Watched(supervisor, supervisor, settings.kafka_group_id, settings.kafka_topics)
    listener, access = served
    page = Page(settings, watched, access=access, topics=settings)
    async with serving(listener, supervisor, supervisor, page, is_alive=supervisor.is_alive):
        is_well = await supervisor.run()
    return supervisor.accounting, 0 if is_well else 1
