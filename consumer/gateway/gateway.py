"""The routes of the gateway."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pattern_metrics.consumer.gateway.admission import DECODED_EVENTS_MAX, Admission, EventRoom
from pattern_metrics.consumer.gateway.bodies import Form, form_of, read_body, split
from pattern_metrics.consumer.gateway.delivery import Delivered, Delivery, StoredLocally, hint_of
from pattern_metrics.consumer.gateway.events import Outgoing, RefusedItem, decide
from pattern_metrics.consumer.gateway.openapi import SCORES, openapi
from pattern_metrics.consumer.http.bearer import client_name
from pattern_metrics.consumer.http.problems import problem, problem_of
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.telemetry.gateway_metrics import GatewayMetrics
from pattern_metrics.consumer.telemetry.metric_table import METRICS_CONTENT_TYPE, REFUSED_BY_KAFKA
from pattern_metrics.publisher.outbox.row import SOURCE_DEFAULT
from pattern_metrics.publisher.records import Acknowledged, Refused
from pattern_metrics.schemas.settings.clock import ClockSettings

_DECIDED_AT_ONCE: Final = 500
"""Events that are decoded in one turn of the loop, so that a probe or a lone event does not wait long."""

_SPLIT_BYTES: Final = 1024 * 1024
"""Longest body that is split in a turn of the loop."""

_DECIDED_BYTES: Final = 128 * 1024
"""Bytes of these events: metadata of many small lists take twenty times as many while they are decoded."""

RETRY_SECONDS: Final = 5
"""Retry-After of a request whose events are not acknowledged."""

Decided = list[Outgoing | RefusedItem]


class Gateway:
    """Answers requests.

    Args:
        delivery: publishes events.
        tokens: the tokens of the clients; None if none are required.
        clock: the limit for agents' clocks.

    Attributes:
        app: the application to serve.
    """

    def __init__(self, delivery: Delivery, tokens: Tokens | None, clock: ClockSettings) -> None:
        self._delivery = delivery
        self._tokens = tokens
        self._clock = clock
        self._admission = Admission()
        self._room = EventRoom(DECODED_EVENTS_MAX)
        self._metrics = GatewayMetrics()
        self._openapi = orjson.dumps(openapi(has_tokens=tokens is not None))
        routes = [
            Route(SCORES, self._scores, methods=["POST"]),
            Route("/openapi.json", self._document),
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._scrape),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: problem_of})
        self.app.router.redirect_slashes = False

    async def _scores(self, request: Request) -> Response:
        began = time.perf_counter()
        status: int | None = 500
        try:
            response = await self._publish(request)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        except ClientDisconnect:
            status = None
            return Response(status_code=400)  # nobody reads it
        finally:
            if status is not None:
                self._metrics.answered(status, time.perf_counter() - began)
        return response

    async def _publish(self, request: Request) -> Response:
        name = client_name(request, self._tokens)
        if self._tokens is None:
            _require_no_web_site(request)
        form = form_of(request.headers)
        with self._admission.admitted(name) as grow:
            body = await read_body(request, form, grow)
            # In a thread, so that the probes are answered while a large body is searched.
            items = (
                await asyncio.to_thread(split, body, form) if len(body) > _SPLIT_BYTES else split(body, form)
            )
            del body
            async with self._room.taken(len(items)):
                decided = await self._decide(items, form)
                del items
                events = [one for one in decided if isinstance(one, Outgoing)]
                outcomes = await self._delivery.deliver(events, name or SOURCE_DEFAULT)
                return self._respond(decided, outcomes)

    async def _decide(self, items: Sequence[bytes], form: Form) -> Decided:
        """Decide about events, with a turn of the loop after each few of them."""
        decided: Decided = []
        accepted_until = self._clock.accepted_until(datetime.now(UTC))
        while len(decided) < len(items):
            begin = len(decided)
            sizes = accumulate(map(len, items[begin : begin + _DECIDED_AT_ONCE]))
            count = max(1, sum(size <= _DECIDED_BYTES for size in sizes))
            decided += decide(items[begin : begin + count], form.event_headers, accepted_until=accepted_until)
            await asyncio.sleep(0)
        return decided

    def _respond(self, decided: Decided, outcomes: Sequence[Delivered]) -> Response:
        rest = iter(outcomes)
        results = [
            {"index": index, **(_refused(one) if isinstance(one, RefusedItem) else _result(one, next(rest)))}
            for index, one in enumerate(decided)
        ]
        counts = Counter(str(result["status"]) for result in results)
        stored = sum(isinstance(outcome, StoredLocally) for outcome in outcomes)
        reasons = Counter(str(result["reason"]) for result in results if result["status"] == "refused")
        self._metrics.decided({**counts, "accepted": counts["accepted"] - stored, "stored": stored}, reasons)
        totals = {status: counts[status] for status in ("accepted", "refused", "unacknowledged")}
        content: dict[str, Any] = {**totals, "durable": "local" if stored else "kafka", "results": results}
        if counts["unacknowledged"]:
            return problem(
                503,
                "not all events are acknowledged: send the same request again, which is a retry",
                {"Retry-After": str(RETRY_SECONDS)},
                **content,
            )
        if counts["refused"]:
            return problem(422, "some events are refused for good; all others are accepted", **content)
        return Response(orjson.dumps(content), 202 if stored else 200, media_type="application/json")

    async def _document(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _livez(self, _: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _readyz(self, _: Request) -> Response:
        obstacles = self._delivery.obstacles
        return JSONResponse({"ready": not obstacles, "obstacles": obstacles}, 503 if obstacles else 200)

    async def _scrape(self, _: Request) -> Response:
        content = self._metrics.render(
            is_ready=not self._delivery.obstacles,
            in_flight=self._admission.requests,
            outbox=await asyncio.to_thread(self._delivery.outbox_backlog),
        )
        return Response(content, media_type=METRICS_CONTENT_TYPE)


def _require_no_web_site(request: Request) -> None:
    """Refuse a page of a web site that runs in a browser on this machine. Without tokens, it could publish.

    Raises:
        HTTPException: 403.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "a web site may not publish without a token")


def _refused(item: RefusedItem) -> dict[str, Any]:
    return {"event_id": None, "status": "refused", "reason": item.reason, "detail": item.detail}


def _result(one: Outgoing, outcome: Delivered) -> dict[str, Any]:
    named: dict[str, Any] = {"event_id": str(one.event_id)}
    match outcome:
        case Acknowledged(_, partition, offset):
            return {**named, "status": "accepted", "partition": partition, "offset": offset}
        case StoredLocally():
            return {**named, "status": "accepted"}
        case Refused(reason):
            return {**named, "status": "refused", "reason": REFUSED_BY_KAFKA, "detail": reason}
        case _:
            return {
                **named,
                "status": "unacknowledged",
                "reason": "unacknowledged",
                "detail": hint_of(outcome.error),
            }
