"""Answers about patterns."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.answering import Answer, Answering, absent, limit_of, tagged
from pattern_metrics.consumer.api.failures import ParameterError, parameter
from pattern_metrics.consumer.api.openapi import LOOKUP_MAX, ORDERS
from pattern_metrics.consumer.api.patterns import Filter, PatternReader, filter_of
from pattern_metrics.consumer.http.problems import problem
from pattern_metrics.schemas.pattern_id import pattern_id_of

LOOKUP_BYTES_MAX: Final = 1024 * 1024


class _Lookup(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[UUID] = []
    names: list[Annotated[str, msgspec.Meta(min_length=1)]] = []


_read_lookup: Final = msgspec.json.Decoder(_Lookup).decode


class PatternAnswers:
    """Answers about patterns.

    Args:
        answering: turns them into responses.
        reader: reads the database.
        history_enabled: whether the worker keeps the history; None if that is unknown.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(self, answering: Answering, reader: PatternReader, history_enabled: bool | None) -> None:
        self._answering = answering
        self._reader = reader
        self._history_enabled = history_enabled
        answers: dict[str, Answer] = {
            "/v1/patterns": self._patterns,
            "/v1/patterns/{pattern_id}": self._pattern,
            "/v1/patterns/{pattern_id}/history": self._history,
            "/v1/retired": self._retired,
            "/v1/distribution": self._distribution,
            "/v1/changes": self._changes,
        }
        self.routes: list[BaseRoute] = [
            Route("/v1/patterns:lookup", answering.guarded(self._lookup), methods=["POST"]),
            *(Route(path, answering.guarded(answer)) for path, answer in answers.items()),
        ]

    async def _distribution(self, request: Request) -> Response:
        return await self._answering.shared(request, self._reader.distribution)

    async def _changes(self, request: Request) -> Response:
        limit = limit_of(request)
        return await self._answering.shared(request, lambda: self._reader.most_changed(limit))

    async def _patterns(self, request: Request) -> Response:
        asked = request.query_params
        order, after, limit = asked.get("order", "best"), asked.get("after"), limit_of(request)
        if order not in ORDERS:
            raise ParameterError("order")
        chosen = _filter(request)
        if order == "id" and chosen == Filter():
            return await self._answering.shared(request, lambda: self._reader.id_page(after, limit))
        return await self._answering.shared(request, lambda: self._reader.page(order, chosen, after, limit))

    async def _pattern(self, request: Request) -> Response:
        found = await self._reader.pattern(_id(request))
        if found is not None:
            return tagged(request, orjson.dumps(found))
        retired = await self._reader.retired(_id(request))
        if retired is None:
            return absent("pattern")
        return problem(410, "the pattern was retired", error="retired", retired=retired)

    async def _retired(self, request: Request) -> Response:
        found = await self._reader.retired_page(request.query_params.get("after"), limit_of(request))
        return tagged(request, orjson.dumps(found))

    async def _history(self, request: Request) -> Response:
        found = await self._reader.history(_id(request), request.query_params.get("after"), limit_of(request))
        return tagged(request, orjson.dumps({**found, "history_enabled": self._history_enabled}))

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
        return tagged(request, orjson.dumps({"rows": rows, "missing": missing}))


def _filter(request: Request) -> Filter:
    asked = request.query_params
    return filter_of(
        asked.get("band") or None,
        asked.get("version"),
        asked.get("name", ""),
        asked.get("dimension") or None,
    )


def _id(request: Request) -> UUID:
    return parameter("pattern_id", request.path_params["pattern_id"], UUID)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LOOKUP_BYTES_MAX:
            raise HTTPException(413, f"a lookup has at most {LOOKUP_BYTES_MAX} bytes")
    return bytes(body)
