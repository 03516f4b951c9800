"""Messages of JSON-RPC 2.0 as the SDK can read them. Pure."""

import json
from contextlib import suppress
from typing import Any, Final

from mcp.types import jsonrpc_message_adapter
from pydantic import ValidationError

_NO_METHOD: Final = "unreadable"
"""The SDK answers a request of a method that does not exist with an error."""


def readable(message: bytes) -> bytes | None:
    """Return a message as the SDK can read it; None if it is no message of JSON-RPC 2.0.

    JSON.stringify writes half a character as the escape of a lone surrogate, which no UTF-8 can hold. It
    becomes U+FFFD.
    """
    if _is_message(message):
        return message
    value = _read(message)
    text = json.dumps(value, ensure_ascii=False)
    repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    return repaired if value is not None and _is_message(repaired) else None


def as_request(message: bytes) -> bytes | None:
    """Return a request that gets an error in place of an unreadable one; None if the message has no id."""
    value = _read(message)
    match value:
        case {"id": (int() | str()) as name} if not isinstance(name, bool):
            return readable(json.dumps({"jsonrpc": "2.0", "id": name, "method": _NO_METHOD}).encode())
        case _:
            return None


def _is_message(message: bytes) -> bool:
    with suppress(ValidationError):
        jsonrpc_message_adapter.validate_json(message, by_name=False)
        return True
    return False


def _read(message: bytes) -> Any:  # noqa: ANN401 - it is any value of JSON
    with suppress(ValueError, RecursionError):  # ValueError: no JSON, no UTF-8, an integer of 4,301 digits
        return json.loads(message)
    return None
