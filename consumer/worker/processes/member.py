"""One process of several under a supervisor: what it tells that one, and hears from it.

Both go through a socket, which ends with the supervisor, however that ends.
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
"""How long the end of the process waits for a supervisor that does not read."""

STOP: Final = b"s"
STOP_AT_ONCE: Final = b"n"


@dataclass(frozen=True, slots=True)
class Report:
    """How a process is.

    Attributes:
        obstacles: component → why it is not ready.
        accounting: what became of the records it read.
        metrics: what it exposes to Prometheus.
        lags: how far each of its partitions is behind: topic, partition, offsets, seconds.
    """

    obstacles: dict[str, str]
    accounting: Accounting
    metrics: str
    lags: list[tuple[str, int, int, float]]

    @classmethod
    def of(cls, worker: Worker) -> "Report":
        """How this worker is now."""
        obstacles = worker.health.obstacles
        lags = [(*partition, lag.offsets, lag.seconds) for partition, lag in worker.metrics.lags().items()]
        return cls(obstacles, worker.accounting, worker.metrics.render(obstacles).decode(), lags)

    def to_line(self) -> bytes:
        """For the way to the supervisor."""
        return orjson.dumps(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Report":
        """What arrived there."""
        fields = orjson.loads(line)
        return cls(fields["obstacles"], Accounting(**fields["accounting"]), fields["metrics"], fields["lags"])


def settings_of(number: int, settings: WorkerSettings) -> WorkerSettings:
    """A process's own: the supervisor answers for it, and a static member has a name of its own."""
    name = settings.kafka_group_instance_id
    own = {"http_port": 0, "kafka_group_instance_id": f"{name}-{number}" if name else None}
    return settings.model_copy(update=own)


@asynccontextmanager
async def reporting(worker: Worker, supervisor: socket.socket | None) -> AsyncIterator[None]:
    """Until the end of the block, tell the supervisor how the worker is, and do as it says.

    Args:
        worker: told of.
        supervisor: None where it is alone, and there is nobody to tell.
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
        # RuntimeError is uvloop's for a transport that is closed.
        with suppress(OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(LAST_REPORT_SECONDS_MAX):
                writer.write(Report.of(worker).to_line())
                writer.close()
                await writer.wait_closed()


async def _report(writer: asyncio.StreamWriter, worker: Worker) -> None:
    with suppress(OSError):  # the other task sees that the supervisor is gone
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
