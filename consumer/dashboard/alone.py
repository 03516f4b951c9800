"""Serves the page without a worker, until a signal, with only the database."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pattern_metrics.consumer.dashboard.page import Page
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose_beyond_rows
from pattern_metrics.consumer.http.access import Access
from pattern_metrics.consumer.http.listening import address_of
from pattern_metrics.consumer.http.server import serving_routes
from pattern_metrics.consumer.settings import DashboardSettings, WorkerSettings

logger = structlog.get_logger()


async def serve_alone(
    settings: DashboardSettings,
    access: Access,
    topics: WorkerSettings | None,
    listener: socket.socket,
    started: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. While the database has a fault, the page shows it.

    Args:
        settings: the database.
        access: who may read.
        topics: the broker and the topics, in which events are searched; None if only the database is.
        listener: the socket to serve.
        started: called with the page's address.

    Raises:
        Exception: the database fails in a way that is neither an outage nor a wrong configuration.
    """
    page = Page(settings, access=access, topics=topics)
    await _check(page)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    async def livez(_: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async with serving_routes(listener, [Route("/livez", livez)], page):
        started(address_of(listener))
        with suppress(asyncio.CancelledError):
            await stopped.wait()


async def _check(page: Page) -> None:
    try:
        await page.check()
    except Exception as error:
        diagnosis = diagnose_beyond_rows(error)
        if diagnosis.fault not in {Fault.TRANSIENT, Fault.CONFIGURATION}:
            raise
        logger.warning("not_ready", component="postgresql", error=type(error).__name__, hint=diagnosis.hint)
