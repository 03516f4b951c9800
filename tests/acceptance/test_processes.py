"""Several processes under one command: members of one group, with common signals, health and metrics."""

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import HOST, free_port
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.letters import connected
from tests.support.pipeline import an_event, expected_table, fetch, progress, send, table, worker_settings
from tests.support.scraping import Samples, Scraper
from tests.support.waiting import eventually

PARTITIONS = {0, 1, 2, 3}
TWO = ("--processes", "2")
NUMBERS = (0, 1)
SUPERVISOR = {
    f"pattern_metrics.consumer.{name}" for name in ("worker.processes.supervisor", "http.server", "stopping")
}
"""The loggers of the parent process, whose lines are about all processes."""


@pytest.fixture
async def settings(real_broker: Broker, migrated_database_url: str) -> WorkerSettings:
    """Settings of a topic with partitions for all. On the embedded broker a group takes long to form."""
    topic = await create_topic(real_broker.bootstrap_servers, len(PARTITIONS))
    return worker_settings(
        real_broker.bootstrap_servers, topic, migrated_database_url, kafka_enable_idempotence=True
    )


@pytest.fixture
def scraper() -> Scraper:
    return Scraper(free_port())


def some_events(count: int) -> list[PatternScored]:
    return [an_event(number % 50, seconds=number * 7 % 60) for number in range(count)]


async def publish(settings: WorkerSettings, events: Sequence[PatternScored]) -> None:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)


def partitions_of(worker: WorkerProcess, number: int) -> set[int]:
    """Return the partitions of a process's last assignment."""
    assigned = worker.events("partitions_assigned", process=number)
    return set(assigned[-1]["partitions"]) if assigned else set()


async def wait_until_shared(worker: WorkerProcess) -> None:
    def is_shared() -> bool:
        shares = [partitions_of(worker, number) for number in NUMBERS]
        return all(shares) and set.union(*shares) == PARTITIONS and sum(map(len, shares)) == len(PARTITIONS)

    await eventually(is_shared, deadline_seconds=SECONDS_MAX)


def pid_of(worker: WorkerProcess, number: int) -> int:
    return int(worker.events("process_started", process=number)[-1]["pid"])


def nameless(worker: WorkerProcess) -> set[str]:
    """Return the loggers of lines that name no process."""
    return {str(line["logger"]) for line in worker.events() if "process" not in line}


def records(samples: Samples) -> int:
    return int(sum(value for (name, _), value in samples.items() if name == "pattern_metrics_records_total"))


def partitions_with_lag(samples: Samples) -> set[int]:
    return {int(labels[0]) for name, labels in samples if name == "pattern_metrics_consumer_lag"}


async def test_two_processes_share_the_work_and_act_as_one_for_probes_and_stops(
    settings: WorkerSettings, tmp_path: Path, scraper: Scraper
) -> None:
    events = some_events(400)
    command = CommandLine(tmp_path, environment_of(settings))

    async with command.worker(*TWO, http_port=scraper.port) as worker:
        await wait_until_shared(worker)
        await scraper.wait_until_ready()
        await publish(settings, events)

        async def samples_of_all() -> Samples | None:
            samples = await scraper.samples()
            return samples if records(samples) == len(events) else None

        samples = await eventually(samples_of_all, deadline_seconds=SECONDS_MAX)
        assert samples is not None
        alive = await scraper.ask("/livez")
        shown = (await scraper.ask("/v1/progress")).json
        for number in NUMBERS:  # systemd stops a service like this: all of its processes at once
            os.kill(pid_of(worker, number), signal.SIGTERM)
        code = await worker.terminate()

    read = {
        number: sum(int(line["read"]) for line in worker.events("batch_written", process=number))
        for number in NUMBERS
    }
    assert code == 0
    assert nameless(worker) <= SUPERVISOR
    assert alive.json == {"alive": True}
    assert await table(settings) == expected_table(events)
    assert min(read.values()) > 0
    assert sum(read.values()) == len(events)
    assert partitions_with_lag(samples) == PARTITIONS
    assert sum(shown["worker"]["outcomes"].values()) == len(events)
    assert shown["worker"]["lag"] == 0
    assert shown["worker"]["clocks"] is None
    assert {row["partition"] for row in shown["partitions"]} == PARTITIONS
    assert samples["pattern_metrics_batch_records_sum", ()] == len(events)
    assert samples["pattern_metrics_ready", ()] == 1
    assert worker.events("supervisor_stopped")[0]["read"] == len(events)
    assert len(worker.events("worker_stopped")) == len(NUMBERS)


async def test_a_process_that_is_killed_comes_back_and_nothing_is_lost_or_counted_back(
    settings: WorkerSettings, tmp_path: Path, scraper: Scraper
) -> None:
    first, later = some_events(200), some_events(200)
    # With static members, the new process gets the partitions of the dead one without waiting for its
    # session.
    command = CommandLine(tmp_path, environment_of(settings) | {"KAFKA_GROUP_INSTANCE_ID": "one"})

    async with command.worker(*TWO, http_port=scraper.port) as worker:
        await wait_until_shared(worker)
        await publish(settings, first)

        async def is_counted() -> bool:
            return records(await scraper.samples()) == len(first)

        await eventually(is_counted, deadline_seconds=SECONDS_MAX)
        with no_more_files(worker.process.pid):
            os.kill(pid_of(worker, 1), signal.SIGKILL)
            await worker.wait_for_event("process_not_started", process=1)
        obstacles = await scraper.wait_for_obstacles("process")
        counted = records(await scraper.samples())
        await publish(settings, later)
        await worker.wait_for_event("process_started", process=1, count=2)
        await scraper.wait_until_ready()

        async def is_all_written() -> bool:
            return sum((await progress(settings)).values()) == len(first) + len(later)

        await eventually(is_all_written, deadline_seconds=SECONDS_MAX)
        code = await worker.terminate()

    assert code == 0
    assert obstacles == {"process": "is being started (process 1)"}
    assert counted == len(first)
    assert worker.events("process_ended", process=1)[0]["reason"] == "SIGKILL"
    assert await table(settings) == expected_table(first + later)


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """Make it impossible to start a process, by the one cause that a test can bring about."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("arguments", [(), TWO], ids=["alone", "two"])
async def test_a_second_signal_does_not_wait_for_the_batch_in_flight(
    settings: WorkerSettings, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command = CommandLine(tmp_path, environment_of(settings))

    async with connected(settings.database_url.get_secret_value()) as connection:
        await connection.execute("BEGIN; LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE")
        await publish(settings, some_events(100))
        async with command.worker(*arguments, shutdown_grace_seconds=600) as worker:
            await eventually(
                lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"),
                deadline_seconds=SECONDS_MAX,
            )
            worker.process.terminate()
            await worker.wait_for_event("stop_requested")
            code = await worker.terminate()

    assert code == 1
    assert worker.events("stopped_at_once")
    if arguments:
        assert nameless(worker) <= SUPERVISOR
    assert "Traceback" not in worker.log.read_text()


async def test_no_process_outlives_a_supervisor_that_is_killed(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    async with CommandLine(tmp_path, environment_of(settings)).worker(*TWO) as worker:
        await wait_until_shared(worker)
        pids = [pid_of(worker, number) for number in NUMBERS]
        await worker.kill()

        await eventually(lambda: not any(map(is_running, pids)), deadline_seconds=SECONDS_MAX)

    assert len(worker.events("worker_stopped")) == len(NUMBERS)
    assert not worker.events("failed")


def is_running(pid: int) -> bool:
    """Return whether the process exists. A zombie has no command line."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_without_the_fork_server_processes_run_on_and_a_stop_reports_no_end(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    events = some_events(200)

    async with CommandLine(tmp_path, environment_of(settings)).worker(*TWO) as worker:
        await wait_until_shared(worker)
        (server,) = {parent_of(pid_of(worker, number)) for number in NUMBERS}
        os.kill(server, signal.SIGKILL)
        await publish(settings, events)
        await worker.wait_until_read(len(events))
        code = await worker.terminate()

    assert server != worker.process.pid
    assert code == 1
    assert len(worker.events("fork_server_ended")) == 1
    assert [line["reason"] for line in worker.events("process_ended")] == ["exit 1"] * len(NUMBERS)
    assert len(worker.events("worker_stopped")) == len(NUMBERS)
    assert await table(settings) == expected_table(events)


async def test_a_process_that_cannot_be_forked_any_more_ends_the_worker(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    async with CommandLine(tmp_path, environment_of(settings)).worker(*TWO) as worker:
        await wait_until_shared(worker)
        os.kill(parent_of(pid_of(worker, 0)), signal.SIGKILL)
        os.kill(pid_of(worker, 0), signal.SIGKILL)
        code = await worker.process.wait()

    assert code == 1
    assert "Broken pipe" in worker.events("process_not_started", process=0)[0]["error"]
    assert len(worker.events("worker_stopped", process=1)) == 1


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def unattended(settings: WorkerSettings, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """A worker with a frozen fork server, so that nobody reports the end of a process."""
    command = CommandLine(tmp_path, environment_of(settings))
    async with command.worker(*TWO, shutdown_grace_seconds=1) as worker:
        await wait_until_shared(worker)
        with frozen(parent_of(pid_of(worker, 0))):
            yield worker


async def test_a_stop_does_not_wait_for_a_fork_server_that_is_frozen(unattended: WorkerProcess) -> None:
    worker = unattended

    code = await worker.terminate()

    assert code == 1
    assert len(worker.events("worker_stopped")) == len(NUMBERS)


async def test_an_order_to_a_process_that_is_gone_does_not_end_the_supervisor(
    unattended: WorkerProcess,
) -> None:
    worker = unattended

    os.kill(pid_of(worker, 0), signal.SIGKILL)
    worker.process.terminate()
    await worker.wait_for_event("worker_stopped", process=1)
    code = await worker.terminate()

    assert code == 1
    assert len(worker.events("supervisor_stopped")) == 1
    assert "Traceback" not in worker.log.read_text()


async def test_readyz_names_the_processes_and_a_stop_does_not_wait_for_a_frozen_one(
    settings: WorkerSettings, tmp_path: Path, scraper: Scraper
) -> None:
    away = {"DATABASE_URL": f"postgresql://someone@{HOST}:{free_port()}/scores"}
    command = CommandLine(tmp_path, environment_of(settings) | away)

    async with command.worker(*TWO, http_port=scraper.port, shutdown_grace_seconds=1) as worker:

        async def is_told_of_both() -> bool:
            obstacles: dict[str, str] = (await scraper.ask("/readyz")).json["obstacles"]
            return obstacles.get("postgresql", "").endswith("(process 0, 1)")

        await eventually(is_told_of_both, deadline_seconds=SECONDS_MAX)
        with frozen(pid_of(worker, 0)):
            obstacles = await scraper.wait_for_obstacles("postgresql", "assignment", "process")
            alive = await scraper.ask("/livez")
            samples = await scraper.samples()
            code = await worker.terminate()

    assert "not reachable" in obstacles["postgresql"]
    assert obstacles["postgresql"].endswith("(process 1)")
    assert obstacles["process"].endswith("(process 0)")
    assert alive.status == 200
    assert samples["pattern_metrics_ready", ()] == 0
    assert samples["pattern_metrics_not_ready", ("process",)] == 1
    assert code == 1
    assert [line["process"] for line in worker.events("process_killed")] == [0]
    assert len(worker.events("worker_stopped", process=1)) == 1


async def test_a_run_to_the_end_is_summed_up_over_the_processes(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    events = some_events(300)
    command = CommandLine(tmp_path, environment_of(settings))
    await publish(settings, events)
    await send(settings, [b"1"], partition=3)

    ended = (await command.run("consume", *TWO, "--until-caught-up", "--json")).succeeded()
    again = (await command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert len(ended.stdout.splitlines()) == 1
    assert ended.json["read"] == len(events) + 1
    assert ended.json["dead_letters"] == 1
    assert again.json["read"] == 0
    assert await table(settings) == expected_table(events)


async def test_a_run_to_the_end_in_which_one_process_fails_stops_the_others_and_fails(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    command = CommandLine(tmp_path, environment_of(settings))
    await send(settings, [b"1", b"2", b"3"])

    failed = await command.run("consume", *TWO, "--until-caught-up", "--json", dead_letter_max_consecutive=2)

    assert failed.code == 1
    assert "DEAD_LETTER_MAX_CONSECUTIVE" in failed.stderr
    assert failed.json["dead_letters"] > 0
    assert len(await fetch(settings, "SELECT FROM dead_letters")) == failed.json["dead_letters"]
