"""Errors as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

logger = structlog.get_logger()

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """Return a response that says what is wrong.

    Args:
        status: the status.
        detail: the fault, for a person; holds nothing that the client does not know.
        headers: further headers.
        members: further members of the document.
    """
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(orjson.dumps({**content, **members}), status, headers, media_type=PROBLEM_CONTENT_TYPE)


async def problem_of_bug(_: Request, error: Exception) -> Response:
    """Return the response to an error that nobody expected, and log it."""
    logger.error("answer_failed", exc_info=error)
    return problem(500, "this is a fault of the server, and in its log")


async def problem_of(_: Request, error: Exception) -> Response:
    """Return the response to an HTTPException, also to one that the router raised."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for no other class
    return problem(error.status_code, error.detail, error.headers)
