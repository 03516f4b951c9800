"""One process of several under a supervisor: its reports to the supervisor, and the supervisor's orders.

Both go through a socket, which closes when the supervisor ends in any way.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.consumer.worker.worker import Worker

logger = structlog.get_logger()

REPORT_SECONDS: Final = 1.0
LAST_REPORT_SECONDS_MAX: Final = 2.0
"""Longest wait for a supervisor that does not read, when the process ends."""

STOP: Final = b"s"
STOP_AT_ONCE: Final = b"n"


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a process.

    Attributes:
        obstacles: the reason per component why it is not ready.
        accounting: the outcome of the records that it read.
        metrics: its metrics for Prometheus.
        lags: topic, partition, offsets and seconds of the lag of each of its partitions.
        clock_difference: seconds by which PostgreSQL's clock is ahead, as far as it is known.
    """

    obstacles: dict[str, str]
    accounting: Accounting
    metrics: str
    lags: list[tuple[str, int, int, float]]
    clock_difference: float | None

    @classmethod
    def of(cls, worker: Worker) -> "Report":
        """Return the present state of a worker."""
        obstacles = worker.health.obstacles
        metrics = worker.metrics
        lags = [(*partition, lag.offsets, lag.seconds) for partition, lag in metrics.lags().items()]
        rendered = metrics.render(obstacles).decode()
        return cls(obstacles, worker.accounting, rendered, lags, metrics.clock_difference())

    def to_line(self) -> bytes:
        """Return the report as a line for the supervisor."""
        return orjson.dumps(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Report":
        """Return the report of a received line."""
        fields = orjson.loads(line)
        return cls(**{**fields, "accounting": Accounting(**fields["accounting"])})


def settings_of(number: int, settings: WorkerSettings) -> WorkerSettings:
    """Return a process's settings: only the supervisor serves HTTP, and each static member has its name."""
    name = settings.kafka_group_instance_id
    own = {"http_port": 0, "kafka_group_instance_id": f"{name}-{number}" if name else None}
    return settings.model_copy(update=own)


@asynccontextmanager
async def reporting(worker: Worker, supervisor: socket.socket | None) -> AsyncIterator[None]:
    """Report the worker's state to the supervisor, and obey its orders, until the end of the block.

    Args:
        worker: the worker.
        supervisor: the connection; None if there is no supervisor.
    """
    if supervisor is None:
        yield
        return
    reader, writer = await asyncio.open_connection(sock=supervisor)
    tasks = [
        asyncio.create_task(_report(writer, worker)),
        asyncio.create_task(_obey(reader, worker, asyncio.current_task())),
    ]
    try:
        yield
    finally:
        for task in tasks:
            await cancel(task)
        # uvloop raises RuntimeError for a closed transport.
        with suppress(OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(LAST_REPORT_SECONDS_MAX):
                writer.write(Report.of(worker).to_line())
                writer.close()
                await writer.wait_closed()


async def _report(writer: asyncio.StreamWriter, worker: Worker) -> None:
    with suppress(OSError):  # the other task notices that the supervisor has ended
        while True:
            writer.write(Report.of(worker).to_line())
            await writer.drain()
            await asyncio.sleep(REPORT_SECONDS)


async def _obey(reader: asyncio.StreamReader, worker: Worker, whole: "asyncio.Task[Any] | None") -> None:
    with suppress(OSError):
        while order := await reader.read(1):
            if order == STOP:
                worker.stop()
            elif whole is not None:
                whole.cancel()
    logger.warning("supervisor_gone", hint="this process stops cleanly, because its supervisor has ended")
    worker.stop()
