"""The routes of the read API."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.cache import Cache
from pattern_metrics.consumer.api.failures import ERRORS, SLOW, Failure, failure_of
from pattern_metrics.consumer.api.openapi import ORDERS, openapi
from pattern_metrics.consumer.api.patterns import Filter, PatternReader, Shown
from pattern_metrics.consumer.http.bearer import client_name
from pattern_metrics.consumer.http.problems import problem
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.schemas.bands import BANDS, Band
from pattern_metrics.schemas.pattern_id import pattern_id_of
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

LOOKUP_MAX: Final = 1_000
"""Most ids and names of one lookup."""

LOOKUP_BYTES_MAX: Final = 1024 * 1024

ROWS_DEFAULT: Final = 50
ROWS_MAX: Final = 500

BOUNDS: Final[dict[str, tuple[float | None, float | None]]] = {
    band: (least if band is not Band.POOR else None, below)
    for (band, least), below in zip(BANDS.items(), [None, *BANDS.values()], strict=False)
}
"""The least score of each band, and the first score above it; None for no bound."""

_ID_PREFIX: Final = re.compile(r"[0-9a-f]{8,32}")

_REVALIDATED: Final = {"Cache-Control": "private, no-cache"}

_DETAILS: Final = {
    "busy": "too many other answers are being computed",
    "slow": "the database did not answer in time",
    "request": "a parameter is not valid",
    "absent": "there is no such pattern",
}


class _Lookup(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[UUID] = []
    names: list[Annotated[str, msgspec.Meta(min_length=1)]] = []


_read_lookup: Final = msgspec.json.Decoder(_Lookup).decode


class Api:
    """Answers the read API's requests.

    Args:
        reader: reads the database.
        cache: keeps expensive answers.
        tokens: the tokens of clients; None if none are required.
        history_enabled: whether the worker keeps the history; None if that is unknown.
        timing: `page` limits the wait for the database.
        clock: the time from which an answer's age is counted.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(
        self,
        reader: PatternReader,
        cache: Cache,
        tokens: Tokens | None,
        history_enabled: bool | None,
        timing: Timing = TIMING,
        clock: Clock = CLOCK,
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._tokens = tokens
        self._history_enabled = history_enabled
        self._timing = timing
        self._clock = clock
        self._openapi = orjson.dumps(
            openapi(has_tokens=tokens is not None, lookup_max=LOOKUP_MAX, rows_max=ROWS_MAX)
        )
        answers: dict[str, Answer] = {
            "/v1/patterns": self._patterns,
            "/v1/patterns/{pattern_id}": self._pattern,
            "/v1/patterns/{pattern_id}/history": self._history,
            "/v1/retired": self._retired,
            "/v1/distribution": self._distribution,
        }
        self.routes: list[BaseRoute] = [
            Route("/openapi.json", self._document),
            Route("/v1/patterns:lookup", self.guarded(self._lookup), methods=["POST"]),
            *(Route(path, self.guarded(answer)) for path, answer in answers.items()),
        ]

    def guarded(self, answer: Answer) -> Answer:
        """Require a token, and turn each failure into a problem."""

        @wraps(answer)
        async def wrapped(request: Request) -> Response:
            try:
                client_name(request, self._tokens)
                return await answer(request)
            except HTTPException as error:
                return problem(error.status_code, error.detail, error.headers)
            except ERRORS as error:
                return _failed(failure_of(error))

        return wrapped

    async def cached(
        self, request: Request, compute: Callable[[], Awaitable[Shown]]
    ) -> tuple[bytes, float] | None:
        """Return an answer that is computed for all clients, and its age; None if that takes too long."""

        async def answer() -> bytes:
            return orjson.dumps(await compute()) + b"%d" % (1000 * self._clock.wall())

        patience = asyncio.timeout(self._timing.page)
        try:
            async with patience:
                content = await self._cache.get(f"{request.url.path}?{request.url.query}", answer)
        except TimeoutError:
            if not patience.expired():
                raise
            return None  # the computation continues, for a later request
        body, brace, computed_at = content.rpartition(b"}")
        return body + brace, max(0.0, self._clock.wall() - int(computed_at) / 1000)

    async def _answered(self, request: Request, compute: Callable[[], Awaitable[Shown]]) -> Response:
        found = await self.cached(request, compute)
        if found is None:
            return _failed(SLOW)
        content, age = found
        return _tagged(request, content, {"Age": str(int(age))})

    async def _document(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _distribution(self, request: Request) -> Response:
        return await self._answered(request, self._reader.distribution)

    async def _patterns(self, request: Request) -> Response:
        asked = request.query_params
        order, after, limit = asked.get("order", "best"), asked.get("after"), _limit(request)
        if order not in ORDERS:
            raise ValueError("there is no such order")
        chosen = _filter(request)
        if order == "id" and chosen == Filter():
            return await self._answered(request, lambda: self._reader.id_page(after, limit))
        return await self._answered(request, lambda: self._reader.page(order, chosen, after, limit))

    async def _pattern(self, request: Request) -> Response:
        found = await self._reader.pattern(_id(request))
        if found is not None:
            return _tagged(request, orjson.dumps(found))
        retired = await self._reader.retired(_id(request))
        if retired is None:
            return _failed(Failure(404, "absent"))
        return problem(410, "the pattern was retired", error="retired", retired=retired)

    async def _retired(self, request: Request) -> Response:
        found = await self._reader.retired_page(request.query_params.get("after"), _limit(request))
        return _tagged(request, orjson.dumps(found))

    async def _history(self, request: Request) -> Response:
        found = await self._reader.history(_id(request), request.query_params.get("after"), _limit(request))
        return _tagged(request, orjson.dumps({**found, "history_enabled": self._history_enabled}))

    async def _lookup(self, request: Request) -> Response:
        try:
            asked = _read_lookup(await _body(request))
        except (msgspec.MsgspecError, RecursionError):
            raise HTTPException(400, 'the body is not {"ids": [UUID, …], "names": [text, …]}') from None
        wanted: list[tuple[str, UUID]] = [(str(one), one) for one in asked.ids]
        wanted += [(name, pattern_id_of(name)) for name in asked.names]
        if len(wanted) > LOOKUP_MAX:
            raise HTTPException(413, f"a lookup has at most {LOOKUP_MAX} ids and names")
        found = await self._reader.patterns(list({pattern_id for _, pattern_id in wanted}))
        rows = [{"asked": text, **found[one]} for text, one in wanted if one in found]
        missing = [text for text, one in wanted if one not in found]
        return _tagged(request, orjson.dumps({"rows": rows, "missing": missing}))


def _filter(request: Request) -> Filter:
    asked = request.query_params
    if asked.get("band", "poor") not in BOUNDS:
        raise ValueError("there is no such band")
    least, below = BOUNDS[asked["band"]] if "band" in asked else (None, None)
    name = asked.get("name", "").strip()
    chosen = Filter(
        least, below, asked.get("version"), name or None, dimension=asked.get("dimension") or None
    )
    prefix = name.replace("-", "").lower()
    if _ID_PREFIX.fullmatch(prefix):
        chosen = replace(chosen, ids=(UUID(prefix.ljust(32, "0")), UUID(prefix.ljust(32, "f"))))
    return chosen


def _limit(request: Request) -> int:
    limit = int(request.query_params.get("limit", ROWS_DEFAULT))
    if not 1 <= limit <= ROWS_MAX:
        raise ValueError("the limit is out of range")
    return limit


def _id(request: Request) -> UUID:
    return UUID(request.path_params["pattern_id"])


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LOOKUP_BYTES_MAX:
            raise HTTPException(413, f"a lookup has at most {LOOKUP_BYTES_MAX} bytes")
    return bytes(body)


def _tagged(request: Request, content: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return the content with its ETag; 304 if the client has it."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {**_REVALIDATED, "ETag": tag, **(headers or {})}
    known: Sequence[str] = [
        one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")
    ]
    if request.method in {"GET", "HEAD"} and (tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _failed(failure: Failure) -> Response:
    members: dict[str, Any] = {"error": failure.kind}
    if failure.hint is not None:
        members["hint"] = failure.hint
    headers = {"Retry-After": "1"} if failure.status == 503 else None  # noqa: PLR2004
    detail = failure.hint or _DETAILS[failure.kind]
    return problem(failure.status, detail, headers, **members)
