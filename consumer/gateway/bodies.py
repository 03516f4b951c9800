"""The body of a request: its form, its limits, and the events in it."""

import asyncio
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pattern_metrics.schemas.pattern_scored import STRUCTURED_CONTENT_TYPE

WIRE_BYTES_MAX: Final = 1024 * 1024
"""Largest body as it is sent."""

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest body after it was unpacked: 130 KB of gzip can hold 264 MiB."""

EVENTS_MAX: Final = 5_000
"""Most events of one request."""

BODY_SECONDS: Final = 10.0
"""Longest time in which a body may arrive."""

JSON: Final = "application/json"
LINES: Final = ("application/x-ndjson", "application/jsonl")
BATCH: Final = "application/cloudevents-batch+json"

CONTENT_TYPES: Final = (JSON, *LINES, STRUCTURED_CONTENT_TYPE, BATCH)
"""The forms of a body."""

_SINGLE: Final = ("content-type", "content-encoding", "content-length", "transfer-encoding", "host")
"""Headers that may be given once."""

_PIECE_BYTES: Final = 64 * 1024
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_BLANK: Final = b" \t\r\n"

_COMMAS_PER_EVENT: Final = 40
"""An array with more commas than so many for each event is counted before it is split."""

_TOKENS: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|\[[^\[\]{}"]*+\]|\{[^\[\]{}"]*+\}|[\[\]{},]', flags=re.DOTALL
)
"""A string, also one without an end, an array or object without strings or brackets, a bracket, a comma."""

_read_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a body, by its headers.

    Attributes:
        content_type: one of CONTENT_TYPES.
        is_gzip: whether it is packed.
        event_headers: the headers of the record that it would be in a topic, by which the worker's decoder
            decides how to read an event.
        is_binary: whether it is one CloudEvent in binary mode.
    """

    content_type: str
    is_gzip: bool
    event_headers: Sequence[tuple[str, bytes]]
    is_binary: bool


def form_of(headers: Headers) -> Form:
    """Return the form of a body.

    Raises:
        HTTPException: 400, a header is given twice or contradicts another; 413, its length is too great; 415,
            its content type or encoding is none that is read here.
    """
    attributes = [(name, value) for name, value in headers.items() if name.startswith("ce-")]
    names = [name for name, _ in attributes]
    repeated = [name for name in (*_SINGLE, *names) if len(headers.getlist(name)) > 1]
    if repeated or ("content-length" in headers and "transfer-encoding" in headers):
        raise HTTPException(400, f"the header {(repeated or ['transfer-encoding'])[0]} contradicts another")
    if int(headers.get("content-length", "0")) > WIRE_BYTES_MAX:
        raise too_large()
    content_type, _, parameters = headers.get("content-type", "").partition(";")
    content_type = content_type.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([^\s\";]*)", parameters, flags=re.IGNORECASE)
    if content_type not in CONTENT_TYPES or (charset and charset[1].lower() not in {"utf-8", "us-ascii"}):
        raise HTTPException(
            415,
            f"the content type is none of {', '.join(CONTENT_TYPES)}",
            {"Accept-Post": ", ".join(CONTENT_TYPES)},
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise HTTPException(
            415, "the content encoding is neither gzip nor identity", {"Accept-Encoding": "gzip, identity"}
        )
    is_structured = content_type in {STRUCTURED_CONTENT_TYPE, BATCH}
    is_binary = bool(attributes) and content_type == JSON
    event_headers = [("content-type", STRUCTURED_CONTENT_TYPE.encode())] if is_structured else []
    if is_binary:
        event_headers = [(f"ce_{name[3:]}", value.encode()) for name, value in attributes]
    return Form(content_type, encoding == "gzip", event_headers, is_binary)


def too_large() -> HTTPException:
    """Return the error that names both limits."""
    return HTTPException(
        413,
        f"a body has at most {WIRE_BYTES_MAX} bytes as it is sent, {BODY_BYTES_MAX} bytes after it was "
        f"unpacked, and {EVENTS_MAX} events",
    )


async def read_body(
    request: Request, form: Form, grow: Callable[[int], None], seconds: float = BODY_SECONDS
) -> bytes:
    """Read and unpack a body.

    Args:
        request: the request.
        form: its form.
        grow: called with the bytes that it takes from now on; may raise an error.
        seconds: the longest time.

    Raises:
        HTTPException: 400, it is not gzip; 408, it did not arrive in time; 413, it is too large.
        ClientDisconnect: the client has gone.
    """
    body, wire = bytearray(), 0
    unpacker = _Unpacker() if form.is_gzip else None
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                wire += len(chunk)
                if wire > WIRE_BYTES_MAX:
                    raise too_large()
                for piece in [chunk] if unpacker is None else unpacker.unpack(chunk):
                    grow(len(piece))
                    body += piece
                    if len(body) > BODY_BYTES_MAX:
                        raise too_large()
    except TimeoutError:
        raise HTTPException(
            408, f"the body did not arrive within {seconds:g} s", {"Connection": "close"}
        ) from None
    if unpacker is not None:
        unpacker.require_end()
    return bytes(body)


class _Unpacker:
    """Unpacks gzip, of one or more members, in small pieces."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._has_begun = False

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:  # what the member keeps inside comes with its last bytes
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            self._has_begun = True
            try:
                piece = self._member.decompress(chunk, _PIECE_BYTES)
            except zlib.error:
                raise HTTPException(400, "the body is not gzip") from None
            yield piece
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def require_end(self) -> None:
        if self._has_begun and not self._member.eof:
            raise HTTPException(400, "the gzip of the body ends too early")


def split(body: bytes, form: Form) -> list[bytes]:
    """Return the JSON of each event in a body. Only the decoder checks whether it is one.

    Raises:
        HTTPException: 400, the body as a whole is not what its content type says; 413, it has too many
            events.
    """
    if form.content_type in LINES:
        return _few(line for line in io.BytesIO(body) if not line.isspace())
    text = body.strip(_BLANK)
    if not text:
        raise HTTPException(400, "the body is empty")
    is_array = text.startswith(b"[")
    if is_array and (form.is_binary or form.content_type == STRUCTURED_CONTENT_TYPE):
        raise HTTPException(400, f"a body in this mode is one event; an array of CloudEvents is {BATCH}")
    if form.content_type == BATCH and not is_array:
        raise HTTPException(400, "a batch of CloudEvents is a JSON array")
    return _split_array(text) if is_array else [text]


def _split_array(text: bytes) -> list[bytes]:
    if text.count(b",") > EVENTS_MAX * _COMMAS_PER_EVENT and _has_too_many(text):
        raise too_large()
    try:
        items = _read_array(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise HTTPException(400, f"the body is not a JSON array: {error}") from None
    return _few(map(bytes, items))


def _few(items: Iterator[bytes]) -> list[bytes]:
    few = list[bytes]()
    for item in items:
        if len(few) == EVENTS_MAX:
            raise too_large()
        few.append(item)
    return few


def _has_too_many(array: bytes) -> bool:
    """Return whether an array has more than EVENTS_MAX elements, each of which would become an object."""
    depth = commas = 0
    for token in _TOKENS.finditer(array, 1):
        text = token[0]
        if text in {b"[", b"{"}:
            depth += 1
        elif text in {b"]", b"}"}:
            depth -= 1
        elif text == b"," and depth == 0:
            commas += 1
            if commas >= EVENTS_MAX:
                return True
    return False
