"""The gateway decides about an event as the worker does."""

import gc
import gzip
import json
import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from pattern_metrics.consumer.gateway import bodies
from pattern_metrics.consumer.gateway.bodies import (
    BATCH,
    BODY_BYTES_MAX,
    CONTENT_TYPES,
    EVENTS_MAX,
    JSON,
    LINES,
    Form,
    _Unpacker,
    form_of,
    split,
)
from pattern_metrics.consumer.gateway.events import EVENT_BYTES_MAX, Outgoing, RefusedItem, decide
from pattern_metrics.consumer.records.decoding import decode
from pattern_metrics.consumer.records.record import Accepted, Rejected
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE
from tests.support.events import ACCEPTED_UNTIL, NOW, TopicRecord, value, value_without
from tests.support.hostile import HOSTILE


def form(content_type: str = JSON, **headers: str) -> Form:
    return form_of(Headers({"content-type": content_type, **headers}))


def test_what_the_worker_refuses_is_refused_for_the_same_reason() -> None:
    """One test for all of them: a test for each would take ten times the time."""
    compared = 0
    for hostile in HOSTILE:
        if hostile.value is None:
            continue
        headers = [(name, content or b"") for name, content in hostile.headers]

        (found,) = decide([hostile.value], headers, accepted_until=ACCEPTED_UNTIL)

        record = TopicRecord(hostile.value, headers=hostile.headers)
        worker = decode(record, accepted_until=ACCEPTED_UNTIL)
        assert isinstance(worker, Rejected)
        if isinstance(found, Outgoing):  # the worker lacks only the id, which is derived here
            assert "event_id" in worker.detail, hostile.name
        elif len(hostile.value) <= EVENT_BYTES_MAX:
            assert found.reason is worker.reason, hostile.name
            compared += 1
    assert compared > len(HOSTILE) / 2


_JSON_VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({"specversion": "1.0"})
)
_CHANGES = st.dictionaries(
    st.sampled_from(["event_id", "version", "metadata", "specversion", "data", "type", "other"]),
    _JSON_VALUES,
    max_size=3,
)
_FEW = settings(max_examples=50)


@_FEW
@given(changes=_CHANGES, is_structured=st.booleans(), is_nested=st.booleans())
def test_what_is_published_is_what_the_worker_decodes(
    changes: dict[str, object], is_structured: bool, is_nested: bool
) -> None:
    content = value(**changes)
    if is_nested or is_structured:
        content = json.dumps({"specversion": "1.0", "data": json.loads(content)}).encode()
    headers = form("application/cloudevents+json").event_headers if is_structured else []

    (found,) = decide([content], headers, accepted_until=ACCEPTED_UNTIL)

    if isinstance(found, Outgoing):
        fate = decode(TopicRecord(found.value), accepted_until=ACCEPTED_UNTIL)
        assert isinstance(fate, Accepted)
        assert (fate.event.event_id, fate.event.order) == (found.event_id, found.order)


def test_an_event_without_an_id_gets_the_same_id_each_time() -> None:
    content = value_without("event_id")
    first, second = decide([content, content], [], accepted_until=ACCEPTED_UNTIL)

    assert isinstance(first, Outgoing)
    assert isinstance(second, Outgoing)
    assert first.event_id == second.event_id
    assert str(first.event_id).encode() in first.value


@settings(max_examples=10)
@given(
    part=st.sampled_from(["[]", "{}", '""', "1", '{"a":[]}', "[[[]]]"]),
    without=st.sampled_from(["event_id", "other"]),
    confidence=st.sampled_from([0.5, 2]),
    wraps=st.booleans(),
)
def test_a_decided_event_takes_about_as_much_memory_as_its_bytes(
    part: str, without: str, confidence: float, wraps: bool
) -> None:
    """Objects of its content would take many times as much, however small the body is when it is packed."""
    content = json.loads(
        value(confidence=confidence, metadata={"a": json.loads(f"[{part}" + f",{part}" * 9_000 + "]")})
    )
    content.pop(without, None)
    item = json.dumps(
        {"specversion": "1.0", "type": EVENT_TYPE, "data": content} if wraps else content,
        separators=(",", ":"),
    ).encode()
    gc.collect()
    tracemalloc.start()
    decided = [each for _ in range(10) for each in decide([item], [], accepted_until=ACCEPTED_UNTIL)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(decided) == 10
    assert held < 3 * 10 * len(item), "events that were decided, and garbage that nobody has collected yet"


def test_one_invalid_event_among_many_has_its_own_place() -> None:
    late = value(measurement_timestamp=(NOW + timedelta(days=1)).isoformat())
    items = [value(), b"{", value(), late, b" " * (EVENT_BYTES_MAX + 1), value_without("event_id")]

    found = decide(items, [], accepted_until=ACCEPTED_UNTIL)

    assert [one.reason if isinstance(one, RefusedItem) else None for one in found] == [
        None,
        RejectReason.INVALID_JSON,
        None,
        RejectReason.TIMESTAMP_IN_FUTURE,
        RejectReason.TOO_LARGE,
        None,
    ]


@_FEW
@given(
    parts=st.lists(st.dictionaries(st.text(max_size=3), _JSON_VALUES), max_size=4),
    indent=st.none() | st.just(1),
)
def test_an_array_and_lines_are_cut_into_the_texts_of_their_elements(
    parts: list[dict[str, object]], indent: int | None
) -> None:
    texts = [json.dumps(part) for part in parts]
    array = json.dumps(parts, indent=indent).encode()

    assert [json.loads(one) for one in split(array, form())] == parts
    for content_type in LINES:
        lines = "\n".join([*texts, "", " \r"]).encode()
        assert [one.strip() for one in split(lines, form(content_type))] == [text.encode() for text in texts]


@pytest.mark.parametrize("element", ["1", "{}", "[[],[]]", '{"a":[1,2,3],"b":"],["}'], ids=str)
@pytest.mark.parametrize("excess", [0, 1], ids=["at the limit", "beyond it"])
def test_an_array_has_at_most_so_many_elements_whatever_these_are(element: str, excess: int) -> None:
    array = f"[{','.join([element] * (EVENTS_MAX + excess))}]".encode()
    if excess:
        with pytest.raises(HTTPException, match="413"):
            split(array, form())
    else:
        assert len(split(array, form())) == EVENTS_MAX


def test_an_event_may_have_more_commas_than_an_array_has_elements() -> None:
    array = json.dumps([{"a": [0] * (EVENTS_MAX * 50)}, {"b": "[,," * 9}]).encode()

    assert len(split(array, form())) == 2


@pytest.mark.parametrize("element", [b"1,", b"[],", b'{"a":[[]]},'], ids=str)
def test_a_body_that_unpacks_to_millions_of_elements_is_refused_before_they_exist(
    element: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_read_array", None)
    body = b"[" + element * (BODY_BYTES_MAX // 2 // len(element)) + b"1]"

    with pytest.raises(HTTPException, match="413"):
        split(body, form())


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, b""), (JSON, b"[1"), (JSON, b"[1,]"), (BATCH, b"{}"), ("application/cloudevents+json", b"[]")],
    ids=str,
)
def test_a_body_that_is_not_what_its_type_says_is_an_error(content_type: str, body: bytes) -> None:
    with pytest.raises(HTTPException, match="400"):
        split(body, form(content_type))


@_FEW
@given(data=st.binary(max_size=5_000), cuts=st.lists(st.integers(1, 500)), members=st.integers(1, 3))
def test_gzip_is_unpacked_however_it_is_cut(data: bytes, cuts: list[int], members: int) -> None:
    packed, unpacker, unpacked = gzip.compress(data) * members, _Unpacker(), b""
    for size in [*cuts, len(packed)]:
        unpacked += b"".join(unpacker.unpack(packed[:size]))
        packed = packed[size:]
    unpacker.require_end()

    assert unpacked == data * members


@pytest.mark.parametrize("part", [b"no gzip", gzip.compress(b"a")[:-1], gzip.compress(b"a") + b"x"], ids=len)
def test_gzip_that_is_damaged_is_an_error(part: bytes) -> None:
    unpacker = _Unpacker()
    with pytest.raises(HTTPException, match="400"):  # noqa: PT012 - either notices it
        list(unpacker.unpack(part))
        unpacker.require_end()


@pytest.mark.parametrize("size", [1_000_000, 64 * 1024, 128 * 1024, 1])
def test_a_gzip_bomb_is_unpacked_in_small_pieces(size: int) -> None:
    bomb, unpacker = gzip.compress(bytes(size)), _Unpacker()

    pieces = list(unpacker.unpack(bomb))

    unpacker.require_end()
    assert b"".join(pieces) == bytes(size)
    assert max(map(len, pieces)) <= 64 * 1024


@pytest.mark.parametrize("content_type", CONTENT_TYPES, ids=str)
@pytest.mark.parametrize("suffix", ["", "; charset=utf-8", ';charset="UTF-8"'], ids=str)
def test_a_content_type_may_name_its_only_character_set(content_type: str, suffix: str) -> None:
    assert form(content_type.upper() + suffix).content_type == content_type


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (415, [("content-type", "text/plain")]),
        (415, []),
        (415, [("content-type", f"{JSON}; charset=latin-1")]),
        (415, [("content-type", JSON), ("content-encoding", "br")]),
        (400, [("content-type", JSON), ("content-type", JSON)]),
        (400, [("content-type", JSON), ("ce-type", "a"), ("ce-type", "b")]),
        (400, [("content-type", JSON), ("content-length", "1"), ("transfer-encoding", "chunked")]),
        (413, [("content-type", JSON), ("content-length", "99999999")]),
    ],
    ids=str,
)
def test_headers_that_cannot_be_meant_are_an_error(status: int, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(HTTPException, match=str(status)):
        form_of(Headers(raw=[(name.encode(), text.encode()) for name, text in headers]))
