"""The clients that may read the page and the read API: this machine, those with a token, or everybody."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pattern_metrics.consumer.http.bearer import client_name
from pattern_metrics.consumer.http.server import is_loopback
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.settings import ApiSettings

REFUSAL: Final = (
    "another machine needs a token: set API_TOKENS_FILE, or API_OPEN_TO_ALL=true if something else decides "
    "who reaches this port"
)


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of who may read.

    Attributes:
        tokens: the tokens of clients; None if there are none. Then only this machine may read, by a name of
            loopback (protection against DNS rebinding).
        is_open: whether everybody who reaches the port may read, if there are no tokens.
    """

    tokens: Tokens | None = None
    is_open: bool = False

    def check(self, request: Request) -> None:
        """Refuse a client that may not read.

        Raises:
            HTTPException: 401 or 400, see `client_name`; 403, the client is not on this machine.
        """
        if self.tokens is not None:
            client_name(request, self.tokens)
        elif not self.is_open and not _is_from_this_machine(request):
            raise HTTPException(403, REFUSAL)


THIS_MACHINE: Final = Access()
"""Only this machine may read."""


def load_access(settings: ApiSettings) -> Access:
    """Return the rule of API_TOKENS_FILE and API_OPEN_TO_ALL.

    Raises:
        InvalidSettingError: the file cannot be used.
    """
    path = settings.api_tokens_file
    return Access(None if path is None else Tokens(path, "API_TOKENS_FILE"), settings.api_open_to_all)


def _is_from_this_machine(request: Request) -> bool:
    try:
        asked = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        client = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    # A socket for both families has the addresses of IPv4 inside IPv6.
    return is_loopback(asked) and (getattr(client, "ipv4_mapped", None) or client).is_loopback
