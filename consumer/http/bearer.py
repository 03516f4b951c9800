"""Finds the name of the client of a request by its bearer token."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pattern_metrics.consumer.http.tokens import Tokens

_SCHEME = "bearer"


def client_name(request: Request, tokens: Tokens | None) -> str | None:
    """Return the name of the token in the header Authorization; None if no tokens are required.

    Raises:
        HTTPException: 401, there is no token or an unknown one; 400, there are several headers.
    """
    if tokens is None:
        return None
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise HTTPException(400, "several headers Authorization")
    scheme, _, token = (given[0] if given else "").partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise HTTPException(401, "a bearer token is required", {"WWW-Authenticate": "Bearer"})
    name = tokens.name_of(token.strip())
    if name is None:
        raise HTTPException(
            401, "the token is not known", {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        )
    return name
