"""Metadata comes back as it was sent, in whatever language, with all the digits of its numbers."""

import asyncio
import json
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.spellings import SPELLINGS, Spell
from pattern_metrics.consumer.records.decoding import decode_all
from pattern_metrics.consumer.records.fast_decoding import decode_fast
from pattern_metrics.consumer.records.record import Accepted, Rejected, StoredRecord
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_retired import parse_either
from pattern_metrics.schemas.pattern_scored import (
    METADATA_BYTES_MAX,
    PatternScored,
    parse_event,
)
from tests.support.events import ACCEPTED_UNTIL, NOW, events, fields, value, value_with_raw, value_without
from tests.support.hostile import HOSTILE

DIGITS = st.text("0123456789", min_size=1, max_size=30)
NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.integers(0, 10**25).map(str),
    st.just("") | DIGITS.map(".{}".format),
    st.just("") | st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), DIGITS),
)
SPACES = st.text(" \t\r\n", max_size=3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
LEAVES = NUMBERS | TEXTS.map(json.dumps) | st.sampled_from(["true", "false", "null", "{}", "[]"])


def nested_in(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds("{}:{}{}".format, TEXTS.map(json.dumps), SPACES, inner)
    lists = st.lists(inner, max_size=3).map(lambda one: f"[{', '.join(one)}]")
    return lists | st.builds("{{{}{}}}".format, SPACES, st.lists(members, max_size=3).map(",".join))


METADATA = st.builds('{{"a":{}{}}}'.format, SPACES, st.recursive(LEAVES, nested_in, max_leaves=6))


def accepted_text(sent: bytes) -> bytes | None:
    try:
        return parse_event(sent, accepted_until=ACCEPTED_UNTIL).metadata_json
    except InvalidEventError:
        return None


@given(METADATA)
@example('{"a":0.1234567890123456789,"b":1.0,"c":12345678901234567890}')
def test_metadata_is_kept_as_it_was_sent(metadata: str) -> None:
    sent = value_with_raw("metadata", metadata)
    text = accepted_text(sent)
    if text is None:
        return  # a number beyond a double, or with too many decimals

    assert text == metadata.encode()
    event = parse_event(sent, accepted_until=ACCEPTED_UNTIL)
    again = parse_event(event.to_json(), accepted_until=ACCEPTED_UNTIL)
    assert again == event
    assert again.metadata_json == text


@given(METADATA)
def test_a_line_without_an_id_keeps_its_metadata_too(metadata: str) -> None:
    line = value_without("event_id")[:-1] + b',"metadata":%b}' % metadata.encode()
    try:
        event = parse_either(line, accepted_until=ACCEPTED_UNTIL, is_line=True)
    except InvalidEventError:
        return

    assert event.metadata_json == metadata.encode()


@pytest.mark.parametrize("end", [b"", b" \r\n"])
@pytest.mark.parametrize("name", [b"", b',"event_id":null'])
def test_a_line_without_an_id_may_have_as_much_metadata_as_an_event(name: bytes, end: bytes) -> None:
    """Also if it would be longer with its numbers written as Python writes them."""
    room = METADATA_BYTES_MAX - len('{"a":[1e15]}')
    largest = '{"a":[1e15' + ",1e15" * (room // 5) + " " * (room % 5) + "]}"

    for metadata, is_accepted in ((largest, True), (largest.replace("]}", " ]}"), False)):
        line = value_without("event_id")[:-1] + b',"metadata":%b%b}%b' % (metadata.encode(), name, end)
        try:
            event = parse_either(line, accepted_until=ACCEPTED_UNTIL, is_line=True)
        except InvalidEventError as error:
            assert (error.reason, is_accepted) == (RejectReason.TOO_LARGE, False)  # noqa: PT017
        else:
            assert is_accepted
            assert event.metadata_json == metadata.encode()


def test_an_id_that_is_derived_from_the_content_stays_what_it_was() -> None:
    """The ids of earlier releases: what was published then is a retry now."""
    pattern = '"pattern_id":"0d2e7a8e-0000-4000-8000-000000000001"'
    lines = {
        f'{{{pattern},"quality_score":0.5,"confidence":1,"measurement_timestamp":"2026-01-01T00:00:00Z"}}': (
            "c38ca57e-a65c-55fe-b44f-f3543f952e2e"
        ),
        f'{{{pattern},"quality_score":0.1234567890123456789,"confidence":1,"measurement_timestamp":'
        '"2026-01-01T02:00:00.123456789+02:00","metadata":{"b":1.0,"a":0.1234567890123456789,'
        '"n":12345678901234567890,"e":1e3,"t":"\\u00e9"},"version":null}': (
            "9dc3b7f6-ba14-527f-8769-6977e4f56d56"
        ),
        f'{{{pattern.upper().replace("PATTERN_ID", "pattern_id")},"quality_score":1,"confidence":5e-05,'
        '"measurement_timestamp":"2026-01-01 00:00:00z","metadata":null}': (
            "087d4212-08ee-5fc3-8fc4-75a71f54b021"
        ),
    }

    for line, known in lines.items():
        assert (
            str(parse_either(line.encode(), accepted_until=NOW.replace(year=2100), is_line=True).event_id)
            == known
        )


def test_an_event_that_is_given_other_metadata_keeps_nothing_of_the_old_text() -> None:
    event = parse_event(value_with_raw("metadata", '{ "a" : 1.0 }'), accepted_until=ACCEPTED_UNTIL)

    assert event.metadata_json == b'{ "a" : 1.0 }'
    assert event.model_copy(update={"metadata": {"b": 2}}).metadata_json == b'{"b":2}'
    assert event.model_copy(deep=True).metadata_json == b'{ "a" : 1.0 }'


# What PostgreSQL can hold

SMALL = st.builds("0.{}{}e-{}".format, st.just("0"), DIGITS, st.integers(16_300, 16_400)) | st.builds(
    lambda zeros, digits, sign, exponent: f"{sign}0.{'0' * zeros}{digits}e{exponent}",
    st.integers(16_340, 16_390),
    DIGITS,
    st.sampled_from(["", "-"]),
    st.integers(-40, 40),
)


async def postgres_holds(connection: "asyncpg.Connection[Any]", metadata: str) -> bool:
    try:
        await connection.fetchval("SELECT $1::text::jsonb", metadata)
    except asyncpg.NumericValueOutOfRangeError:
        return False
    return True


def test_a_number_is_accepted_exactly_when_postgresql_holds_it(any_database_url: str) -> None:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(any_database_url))

        @given(SMALL | NUMBERS)
        @example("1e-16383")
        @example("1e-16384")
        @example("0e-99999")
        @example("1e-99999999999999999999")
        @example(f"0.{'1' * 15_000}e-2000")
        def compare(number: str) -> None:
            metadata = f'{{"a":{number}}}'
            sent = value_with_raw("metadata", metadata)
            try:
                parse_event(sent, accepted_until=ACCEPTED_UNTIL)
                reason = None
            except InvalidEventError as error:
                reason = error.reason
            is_beyond_double = abs(float(number)) == float("inf")
            is_held = not is_beyond_double and runner.run(postgres_holds(connection, metadata))
            assert reason is (None if is_held else RejectReason.OUT_OF_RANGE)
            assert is_held or not decode_fast([sent], accepted_until=ACCEPTED_UNTIL)

        compare()
        runner.run(connection.close())


async def test_a_row_holds_every_digit(any_database_url: str) -> None:
    numbers = ["0.1234567890123456789", "1.0", "12345678901234567890", "-1.50e3", "5e-05"]
    connection = await asyncpg.connect(any_database_url)
    for number in numbers:
        event = parse_event(value_with_raw("metadata", f'{{"a": {number}}}'), accepted_until=ACCEPTED_UNTIL)
        text = await connection.fetchval("SELECT $1::text::jsonb ->> 'a'", event.metadata_json.decode())

        assert Decimal(text) == Decimal(number)
    await connection.close()


# Fast, in whatever language

COMMON_EVENTS = events.filter(
    lambda one: (
        len(one.metadata_json) < 1000
        and one.measurement_timestamp.year > 1
        and b"\\u0000" not in one.to_json()
    )
)
"""Without integers of thousands of digits, not near the zero time, and without what looks like U+0000."""


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
@given(sent=st.lists(COMMON_EVENTS, min_size=1, max_size=8), seed=st.integers(0, 2**32))
def test_each_language_is_decoded_fast(spell: Spell, sent: list[PatternScored], seed: int) -> None:
    dice = Random(seed)
    values = [
        spell(one.model_dump(mode="json") | {"measurement_timestamp": one.measurement_timestamp}, dice)
        for one in sent
    ]

    decoded = decode_fast(values, accepted_until=ACCEPTED_UNTIL)

    assert len(decoded) == len(sent)
    for fast, text in zip(decoded, values, strict=True):
        slow = parse_event(text, accepted_until=ACCEPTED_UNTIL)
        assert (fast.order, fast.metadata_json) == (slow.order, slow.metadata_json)


UNUSUAL = [
    value(quality_score=1, confidence=0),
    value_with_raw("quality_score", "5e-05"),
    value(event_id="0197A6D2-5C1F-7B3A-8A53-1C9DE07D5B11"),
    value(measurement_timestamp="2025-06-01t12:00:00.5z"),
    value(measurement_timestamp="2025-06-01 12:00:00-05:30"),
    json.dumps(json.loads(value(metadata={"a": [1, {"b": 2}]})), indent=2).encode(),
    json.dumps(dict(reversed(fields().items()))).encode(),
    value(metadata={"digest": "1e500" * 12}),
    value(metadata={"numbers": [[0.5]] * 200, "text": '}]"[{\\' * 200}),
    value(metadata={"text": "x" * 60_000}),
    value(trace=[{"a": 1}] * 180, metadata={"numbers": [{}] * 200}),
]


@pytest.mark.parametrize("sent", UNUSUAL, ids=range(len(UNUSUAL)))
def test_an_unusual_spelling_is_decoded_fast(sent: bytes) -> None:
    assert len(decode_fast([sent], accepted_until=ACCEPTED_UNTIL)) == 1


REFUSED = [one.value for one in HOSTILE if one.value is not None and not one.headers] + [None]


@given(
    st.lists(events.map(PatternScored.to_json) | st.sampled_from(REFUSED), min_size=1, max_size=80),
    st.integers(0, 79),
)
def test_a_record_that_is_refused_changes_no_neighbour(sent: list[bytes | None], large: int) -> None:
    if large < len(sent):
        sent[large] = value(metadata={"text": "x" * 40_000})
    records = [StoredRecord("t", 0, offset, 0, one) for offset, one in enumerate(sent)]

    together = decode_all(records, accepted_until=ACCEPTED_UNTIL)

    assert [fate.record for fate in together] == records
    for fate in together:
        [alone] = decode_all([fate.record], accepted_until=ACCEPTED_UNTIL)
        if isinstance(alone, Rejected):
            assert fate == alone
        else:
            assert isinstance(fate, Accepted)
            assert fate.event.order == alone.event.order
            assert fate.event.metadata_json == alone.event.metadata_json
