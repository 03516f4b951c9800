"""/livez, /readyz and /metrics."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.http.server import Site, serving_routes
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.consumer.telemetry.metric_table import METRICS_CONTENT_TYPE
from pattern_metrics.consumer.telemetry.metrics import Lag
from pattern_metrics.consumer.timing import TIMING, Timing

PULSE_SECONDS: Final = 1.0


class Readiness(Protocol):
    """What keeps a worker, or several, from being ready."""

    @property
    def obstacles(self) -> dict[str, str]:
        """Component → why."""


class MetricsReport(Protocol):
    """What a worker counts, or several do."""

    def render(self, obstacles: Mapping[str, str]) -> bytes:
        """The text that Prometheus reads."""

    def lags(self) -> dict[Partition, Lag]:
        """How far each partition is behind, as far as it is known."""

    def outcomes(self) -> dict[str, int]:
        """How many records were read and written so far, by what became of them."""


@asynccontextmanager
async def serving(
    listener: socket.socket | None,
    health: Readiness,
    metrics: MetricsReport,
    page: Site | None = None,
    *,
    is_alive: Callable[[], bool] = lambda: True,
    timing: Timing = TIMING,
) -> AsyncIterator[None]:
    """Serve a worker, if there is a listener, until the end of the block; which no client keeps waiting.

    Args:
        listener: where.
        health: whether it is ready.
        metrics: what it counts.
        page: what is served besides.
        is_alive: whether all that does the work is, besides this loop.
        timing: `pulse` and `connection` bound the loop and each connection.
    """
    if listener is None:
        yield
        return
    pulse = _Pulse(timing.pulse)
    beating = asyncio.create_task(pulse.beat())
    routes = _probes(lambda: pulse.is_there and is_alive(), health, metrics)
    try:
        async with serving_routes(listener, routes, page, timing):
            yield
    finally:
        await cancel(beating)


class _Pulse:
    """Whether the worker's loop still runs, for another thread to see."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._beat_at = time.monotonic()

    async def beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(PULSE_SECONDS)

    @property
    def is_there(self) -> bool:
        return time.monotonic() - self._beat_at < self._seconds_max


def _probes(is_alive: Callable[[], bool], health: Readiness, metrics: MetricsReport) -> list[BaseRoute]:
    async def livez(_: Request) -> Response:
        alive = is_alive()
        return JSONResponse({"alive": alive}, 200 if alive else 503)

    async def readyz(_: Request) -> Response:
        obstacles = health.obstacles
        return JSONResponse({"ready": not obstacles, "obstacles": obstacles}, 503 if obstacles else 200)

    async def scrape(_: Request) -> Response:
        return Response(metrics.render(health.obstacles), media_type=METRICS_CONTENT_TYPE)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", scrape)]
