"""The compared clients. Each reads a topic into a database table, in its own process."""

import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.peers import quix_python
from benchmarks.programs import Program, ProgramError
from benchmarks.topics import Topic
from pattern_metrics.consumer.demo.embedded import free_port

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """The work of a client.

    Attributes:
        bootstrap_servers: the address of Kafka.
        topic: the topic to read.
        dsn: the database to write.
        group: the consumer group.
        settings: settings of the client that differ from those of the other scenarios.
        workers: the number of processes that share the work.
        ends: whether our worker ends by itself at the log's end; otherwise `finish` stops it.
    """

    bootstrap_servers: str
    topic: Topic
    dsn: str
    group: str
    settings: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    ends: bool = True


@dataclass(frozen=True)
class Consuming:
    """A running client.

    Attributes:
        started: its start, by the monotonic clock.
        pids: its processes.
        cpu_before: the CPU seconds that they had used at the start.
        check: raises if the client has failed.
        finish: called when the table is complete; raises if the client's own counts are wrong.
    """

    started: float
    pids: Sequence[int]
    cpu_before: float
    check: Callable[[], None]
    finish: Callable[[], None]


class Client(ABC):
    """A compared client, for a single run."""

    name: ClassVar[str]
    encoding: ClassVar[str] = "published"
    """The form of the topic's values that it needs: a key of `ENCODINGS`."""

    is_slow: ClassVar[bool] = False
    """True if a smaller number of events is enough to measure it."""

    writes_what_is_there: ClassVar[bool] = True
    """True if a replay writes rows although it changes nothing."""

    def install(self) -> None:  # noqa: B027 - most clients need nothing
        """Install dependencies that the project does not have."""

    @asynccontextmanager
    async def prepared(
        self, bootstrap_servers: str, rehearse: Callable[["Client"], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Start everything that runs before the measurement. `rehearse` works on another database."""
        del bootstrap_servers, rehearse
        yield

    @abstractmethod
    def consuming(self, job: Job) -> AbstractAsyncContextManager[Consuming]:
        """Do the job inside the block."""


class _Processes(Client):
    """A client that is a program and is started for the measurement."""

    @abstractmethod
    def command(self, job: Job) -> Sequence[str | Path]:
        """Return the program and its arguments."""

    def environment(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - most clients need none
        """Return its environment."""
        return {}

    def require_right(self, programs: Sequence[Program], job: Job) -> None:
        """Check the programs' own counts, once the table is complete."""

    @asynccontextmanager
    async def consuming(self, job: Job) -> AsyncIterator[Consuming]:
        started = time.monotonic()
        with ExitStack() as stack:
            programs = [
                stack.enter_context(Program(self.command(job), self.environment(job)))
                for _ in range(job.workers)
            ]

            def check() -> None:
                for program in programs:
                    program.require_running(may_succeed=job.ends)

            yield Consuming(
                started,
                [program.pid for program in programs],
                0.0,
                check,
                lambda: self.require_right(programs, job),
            )


class Ours(_Processes):
    """The installed command."""

    name = "pattern-metrics"
    processes: ClassVar[int] = 1
    writes_what_is_there = False

    def command(self, job: Job) -> Sequence[str | Path]:
        ending = ["--until-caught-up"] if job.ends else []
        return [Path(sys.executable).with_name("pattern-metrics"), "consume", "--json", *ending]

    def environment(self, job: Job) -> Mapping[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": job.bootstrap_servers,
            "KAFKA_TOPIC": job.topic.name,
            "KAFKA_GROUP_ID": job.group,
            "DATABASE_URL": job.dsn,
            "HTTP_PORT": str(free_port()),
            "LOG_FORMAT": "json",
            **job.settings,
        }

    def require_right(self, programs: Sequence[Program], job: Job) -> None:
        """Check that its four numbers add up, to all records or more: two processes may read some twice."""
        totals = Counter[str]()
        for program in programs:
            if not job.ends:
                os.kill(program.pid, signal.SIGTERM)
            program.require_success()
            totals.update(json.loads(program.output[-1]))
        records, read = job.topic.shape.events, totals["read"]
        is_all = read == records if job.workers * self.processes == 1 else read >= records
        if not is_all or read != totals["applied"] + totals["superseded"]:
            raise ProgramError(f"the accounts are wrong: {dict(totals)} of {records} records")


class OursInTwo(Ours):
    """Our worker as two processes under one command: the counterpart of a peer's two tasks."""

    name = "pattern-metrics-2"
    processes = 2

    def command(self, job: Job) -> Sequence[str | Path]:
        return [*super().command(job), "--processes", str(self.processes)]


OURS: Final = (Ours.name, OursInTwo.name)


class Naive(_Processes):
    """The consumer that people write first; see `naive.py`."""

    name = "naive"
    is_slow = True

    def command(self, job: Job) -> Sequence[str | Path]:
        arguments = (job.bootstrap_servers, job.topic.name, job.group, job.dsn)
        return [sys.executable, _HERE / "naive.py", *arguments]


class Quix(_Processes):
    """Quix Streams' PostgreSQL sink; see `quix.py`."""

    name = "quix"

    def install(self) -> None:
        quix_python()

    def command(self, job: Job) -> Sequence[str | Path]:
        arguments = (job.bootstrap_servers, job.topic.name, job.group, job.dsn)
        return [quix_python(), _HERE / "quix.py", *arguments]
