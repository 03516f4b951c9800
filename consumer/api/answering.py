"""Turns what a reader returns into responses: with a token, a tag, an age, and the failures as problems."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from math import inf
from typing import Any, Final, TypeAlias

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pattern_metrics.consumer.api.cache import Cache
from pattern_metrics.consumer.api.database import Shown
from pattern_metrics.consumer.api.failures import (
    ERRORS,
    SLOW,
    Failure,
    ParameterError,
    failure_of,
    parameter,
)
from pattern_metrics.consumer.api.openapi import ROWS_MAX
from pattern_metrics.consumer.http.access import Access
from pattern_metrics.consumer.http.problems import problem
from pattern_metrics.schemas.settings.timing import Clock, Timing

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

ROWS_DEFAULT: Final = 50

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")

_REVALIDATED: Final = {"Cache-Control": "private, no-cache"}

_DETAILS: Final = {
    "busy": "too many other answers are being computed",
    "slow": "the database did not answer in time",
    "request": "a parameter is not valid",
}


class Answering:
    """Answers requests.

    Args:
        access: who may read.
        timing: `page` limits the wait for the database.
        clock: the time from which an answer's age is counted.
    """

    def __init__(self, access: Access, timing: Timing, clock: Clock) -> None:
        self._cache = Cache()
        self._access = access
        self._timing = timing
        self._clock = clock

    def guarded(self, answer: Answer) -> Answer:
        """Refuse clients that may not read, and turn each failure into a problem."""

        @wraps(answer)
        async def wrapped(request: Request) -> Response:
            try:
                self._access.check(request)
                return await answer(request)
            except HTTPException as error:
                return problem(error.status_code, error.detail, error.headers)
            except ERRORS as error:
                return _failed(failure_of(error))

        return wrapped

    async def shared(
        self, request: Request, compute: Callable[[], Awaitable[Shown]], seconds_max: float = inf
    ) -> Response:
        """Return an answer that is computed once for all clients, with its age; a problem if that is slow.

        Args:
            request: the request.
            compute: computes the answer.
            seconds_max: the greatest age of the answer.
        """

        async def answer() -> bytes:
            return orjson.dumps(await compute()) + b"%d" % (1000 * self._clock.wall())

        patience = asyncio.timeout(self._timing.page)
        try:
            async with patience:
                content = await self._cache.get(
                    f"{request.url.path}?{request.url.query}", answer, seconds_max
                )
        except TimeoutError:
            if not patience.expired():
                raise
            return _failed(SLOW)  # the computation continues, for a later request
        body, brace, computed_at = content.rpartition(b"}")
        age = max(0.0, self._clock.wall() - int(computed_at) / 1000)
        return tagged(request, body + brace, {"Age": str(int(age))})


def tagged(request: Request, content: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return the content with its ETag; 304 if the client has it."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {**_REVALIDATED, "ETag": tag, **(headers or {})}
    named = ",".join(request.headers.getlist("if-none-match"))
    known = [one.strip().removeprefix("W/") for one in named.split(",")]
    if request.method in {"GET", "HEAD"} and (tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def absent(thing: str) -> Response:
    """Return the answer to a request for a thing that does not exist."""
    return problem(404, f"there is no such {thing}", error="absent")


def limit_of(request: Request) -> int:
    """Return the number of rows that a request asks for.

    Raises:
        ParameterError: it is no number, or out of range.
    """
    limit = parameter("limit", request.query_params.get("limit", str(ROWS_DEFAULT)), number_of)
    if not 1 <= limit <= ROWS_MAX:
        raise ParameterError("limit")
    return limit


def number_of(text: str) -> int:
    """Return the integer that a text writes in ASCII digits.

    Raises:
        ValueError: it writes none, or one that no `bigint` holds.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text)


def _failed(failure: Failure) -> Response:
    members: dict[str, Any] = {"error": failure.kind}
    if failure.hint is not None:
        members["hint"] = failure.hint
    headers = {"Retry-After": "1"} if failure.status == 503 else None  # noqa: PLR2004
    return problem(failure.status, failure.hint or _DETAILS[failure.kind], headers, **members)
