"""What is compared: each reads a topic into the table of a database, in a process of its own."""

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
    """What a client has to do.

    Attributes:
        bootstrap_servers: where Kafka is.
        topic: the topic to read.
        dsn: the database to write.
        group: the consumer group.
        settings: the client's that differ from what it is measured with otherwise.
        workers: how many processes share the work.
        ends: whether ours ends by itself once it is at the log's end; else `finish` stops it.
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
    """A client at work.

    Attributes:
        started: when it was, by the monotonic clock.
        pids: its processes.
        cpu_before: the seconds that they had used by then.
        check: raises where the client has failed.
        finish: called when the table is complete; raises where the client's own accounts are wrong.
    """

    started: float
    pids: Sequence[int]
    cpu_before: float
    check: Callable[[], None]
    finish: Callable[[], None]


class Client(ABC):
    """One that is compared, for a single run."""

    name: ClassVar[str]
    encoding: ClassVar[str] = "published"
    """How it needs its topic: a key of `ENCODINGS`."""

    is_slow: ClassVar[bool] = False
    """Whether fewer events are enough to measure it."""

    writes_what_is_there: ClassVar[bool] = True
    """Whether a replay writes rows although it changes nothing."""

    def install(self) -> None:  # noqa: B027 - most need nothing
        """Bring what the project does not have itself."""

    @asynccontextmanager
    async def prepared(
        self, bootstrap_servers: str, rehearse: Callable[["Client"], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Bring up what is up before the measurement; `rehearse` does the same work on another database."""
        del bootstrap_servers, rehearse
        yield

    @abstractmethod
    def consuming(self, job: Job) -> AbstractAsyncContextManager[Consuming]:
        """Do the job inside the block."""


class _Processes(Client):
    """A client that is a program, started for the measurement."""

    @abstractmethod
    def command(self, job: Job) -> Sequence[str | Path]:
        """The program and its arguments."""

    def environment(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - most need none
        """Its environment."""
        return {}

    def require_right(self, programs: Sequence[Program], job: Job) -> None:
        """Check the programs' own accounts, once the table is complete."""

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
        """Its four numbers add up, to all the records: two processes may read some of them twice."""
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
    """The same, as two processes under one command: the counterpart of a peer's two tasks."""

    name = "pattern-metrics-2"
    processes = 2

    def command(self, job: Job) -> Sequence[str | Path]:
        return [*super().command(job), "--processes", str(self.processes)]


OURS: Final = (Ours.name, OursInTwo.name)


class Naive(_Processes):
    """What people write first; see `naive.py`."""

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
