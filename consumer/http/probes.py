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
from pattern_metrics.schemas.settings.timing import TIMING, Timing

PULSE_SECONDS: Final = 1.0


class Readiness(Protocol):
    """The conditions under which a worker, or several, are not ready."""

    @property
    def obstacles(self) -> dict[str, str]:
        """The reason per component."""


class MetricsReport(Protocol):
    """The counts of a worker, or of several."""

    def render(self, obstacles: Mapping[str, str]) -> bytes:
        """Return the text that Prometheus reads."""

    def lags(self) -> dict[Partition, Lag]:
        """Return the lag of each partition, as far as it is known."""

    def outcomes(self) -> dict[str, int]:
        """Return the number of records that were read and written so far, by outcome."""

    def clock_difference(self) -> float | None:
        """Return the seconds by which PostgreSQL's clock is ahead; None before the first comparison."""


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
    """Serve a worker until the end of the block, if there is a listener. No client delays the end.

    Args:
        listener: the socket; None serves nothing.
        health: the worker's readiness.
        metrics: the worker's counts.
        page: further routes.
        is_alive: whether all work outside of this loop, such as that of other processes, is alive.
        timing: `pulse` and `connection` limit the loop and each connection.
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
    """The pulse of the worker's loop, which another thread can check."""

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
