"""The page and the read API that it uses, as routes for `serving`."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from typing_extensions import override

from pattern_metrics.consumer.api.api import Api

_FILES: Final = StaticFiles(packages=[(__package__, "static")])


class Page(Api):
    """The page, for one worker or for a database alone: the read API, and the files that show it."""

    @property
    @override
    def routes(self) -> Sequence[BaseRoute]:
        return [Mount("/static", _FILES), Route("/", _index), *super().routes]


async def _index(request: Request) -> Response:
    return await _FILES.get_response("index.html", request.scope)
