"""The JSON Schema and the consumer agree, except for the differences in docs/reference/event.md."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from hypothesis import event as note
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.records.decoding import decode
from pattern_metrics.consumer.records.record import Rejected
from pattern_metrics.schemas.generate import json_schema
from pattern_metrics.schemas.pattern_scored import (
    DECIMALS_MAX,
    JSON_DEPTH_MAX,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    json_depth,
)
from tests.properties.test_fast_decoding import spelled
from tests.support.events import (
    ACCEPTED_UNTIL,
    DIGITS_MAX,
    EVENT_ID,
    TopicRecord,
    events,
    fields,
    nested,
    value,
    value_with_raw,
)
from tests.support.hostile import HOSTILE

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reference" / "event.md").read_text(encoding="utf-8")


def matches_pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Any:
    """Match as ECMAScript does, which JSON Schema requires: `$` does not match before a final line break."""
    if validator.is_type(instance, "string") and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError("does not match")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": matches_pattern})
VALIDATOR = Validator(json_schema(), format_checker=Validator.FORMAT_CHECKER)
PYTHON_S_OWN = jsonschema.Draft202012Validator(json_schema())


def parsed(text: bytes) -> Any:
    """Return JSON as Python's parser reads it, without limits of digits.

    Raises:
        ValueError: the bytes are not JSON.
    """
    return json.loads(text.decode(), parse_int=float)


def consumer_accepts(text: bytes) -> bool:
    return not isinstance(decode(TopicRecord(text), accepted_until=ACCEPTED_UNTIL), Rejected)


def member(content: Any, name: str) -> Any:
    return content.get(name) if isinstance(content, dict) else None


def strings(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [*content, *(text for inner in content.values() for text in strings(inner))]
    if isinstance(content, list):
        return [text for inner in content for text in strings(inner)]
    return [content] if isinstance(content, str) else []


def time_text(content: Any) -> str:
    time = member(content, "measurement_timestamp")
    return time if isinstance(time, str) else ""


def moment(content: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", time_text(content).upper())).astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        return None


def is_29_february(content: Any, _: str) -> bool:
    return time_text(content)[4:10] == "-02-29" and moment(content) is None


def has_other_uuid(content: Any, _: str) -> bool:
    ids = [member(content, "event_id"), member(content, "pattern_id")]
    form = re.compile(r"[0-9a-f]{32}|\{[-0-9a-f]{36}\}|urn:uuid:[-0-9a-f]{36}", re.IGNORECASE)
    return any(isinstance(one, str) and form.fullmatch(one) for one in ids)


def is_outside_the_years(content: Any, _: str) -> bool:
    return time_text(content)[:10] in {"0001-01-01", "9999-12-31"} and moment(content) is None


class Difference(NamedTuple):
    """A row of the table: whether it explains a difference, and an event with that difference."""

    explains: Callable[[Any, str], bool]
    example: bytes


DIFFERENCES = {
    "time in the future": Difference(
        lambda content, _: (moment(content) or ACCEPTED_UNTIL) > ACCEPTED_UNTIL,
        value(measurement_timestamp="2999-01-01T00:00:00Z"),
    ),
    "time outside the years 0001 to 9999 in UTC": Difference(
        is_outside_the_years, value(measurement_timestamp="9999-12-31T23:59:59-00:01")
    ),
    "zero time": Difference(
        lambda content, _: moment(content) == datetime.min.replace(tzinfo=UTC),
        value(measurement_timestamp="0001-01-01T00:00:00Z"),
    ),
    "29 February of a common year": Difference(
        is_29_february, value(measurement_timestamp="2025-02-29T00:00:00Z")
    ),
    "line break after a time": Difference(
        lambda content, _: time_text(content).endswith("\n"),
        value(measurement_timestamp="2025-06-01T12:00:00Z\n"),
    ),
    "U+0000 in metadata": Difference(
        lambda content, _: any("\0" in text for text in strings(member(content, "metadata"))),
        value(metadata={"a": ["\0"]}),
    ),
    "lone surrogate": Difference(
        lambda content, _: any(re.search("[\ud800-\udfff]", text) for text in strings(content)),
        value(unknown="\ud800"),
    ),
    "depth of metadata": Difference(
        lambda content, _: json_depth(json.dumps(member(content, "metadata"))) > METADATA_DEPTH_MAX,
        value(metadata=nested(METADATA_DEPTH_MAX + 1)),
    ),
    "depth of the value": Difference(
        lambda _, text: json_depth(text) > JSON_DEPTH_MAX, value(unknown=nested(JSON_DEPTH_MAX + 1))
    ),
    "size of metadata": Difference(
        lambda content, _: len(json.dumps(member(content, "metadata"))) > METADATA_BYTES_MAX,
        value(metadata={"a": "x" * METADATA_BYTES_MAX}),
    ),
    "number beyond a double": Difference(
        lambda content, _: "Infinity" in json.dumps(member(content, "metadata")),
        value_with_raw("metadata", '{"a": 1e400}'),
    ),
    "number of many digits": Difference(
        lambda _, text: bool(re.search(rf"\d{{{DIGITS_MAX + 1}}}", text)),
        value_with_raw("unknown", "9" * (DIGITS_MAX + 1)),
    ),
    "number of many decimals in metadata": Difference(
        lambda _, text: bool(re.search(rf"\.\d{{{DECIMALS_MAX + 1}}}|[eE]-\d{{4,}}", text)),
        value_with_raw("metadata", f'{{"a": 0.{"1" * (DECIMALS_MAX + 1)}}}'),
    ),
    "NaN and Infinity": Difference(
        lambda _, text: bool(re.search("NaN|Infinity", text)), value_with_raw("quality_score", "NaN")
    ),
    "other spelling of a UUID": Difference(has_other_uuid, value(event_id=EVENT_ID.hex)),
    "CloudEvents envelope": Difference(
        lambda content, _: member(content, "specversion") is not None,
        json.dumps({"specversion": "1.0", "data": fields()}).encode(),
    ),
}


def test_the_document_has_a_row_for_each_difference_and_no_other() -> None:
    table = DOCUMENT.partition("| difference |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]

    assert rows == list(DIFFERENCES)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_row_of_the_table_is_a_difference(name: str) -> None:
    text = DIFFERENCES[name].example
    validator = PYTHON_S_OWN if name == "line break after a time" else VALIDATOR

    assert validator.is_valid(parsed(text)) != consumer_accepts(text)
    assert DIFFERENCES[name].explains(parsed(text), text.decode())


DEPTH_PARSED = JSON_DEPTH_MAX + 50

SHAPES = [
    *(f'"measurement_timestamp":"{time}"' for time in ("2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z")),
    *(
        f'"measurement_timestamp":"2025-06-01T12:00:00{offset}"'
        for offset in ("+0100", "+01", "-00:00", "+24:00")
    ),
    *('"version":"\\u0000"', '"version":"a\\n"', '"version":null', '"metadata":null', '"metadata":[null]'),
    *('"quality_score":1e400', '"confidence":-1e400', '"confidence":null', '"event_id":"x\\n"'),
    *(
        '"specversion":"1.0"',
        '"specversion":null',
        '"type":"other"',
        '"data":{}',
        '"unknown":{"a":"\\ud800"}',
    ),
]
shapes = st.lists(st.sampled_from(SHAPES), max_size=3).map(
    lambda members: (value()[:-1].decode() + "".join(f",{one}" for one in members) + "}").encode()
)
hostile = st.sampled_from([one.value for one in HOSTILE if one.value is not None and not one.headers])


@settings(max_examples=1500, deadline=None)
@given(spelled() | shapes | hostile | events.map(lambda one: one.to_json()))
@example(value(measurement_timestamp="2025-06-01T12:00:00+0100"))
@example(value(event_id=f"{{{EVENT_ID}}}"))
def test_the_table_names_each_difference_between_schema_and_consumer(text: bytes) -> None:
    content = None
    try:
        is_json = json_depth(text.decode()) <= DEPTH_PARSED  # the parser's own limit is the interpreter's
        if is_json:
            content = parsed(text)
    except ValueError:
        is_json = False
    if not is_json:
        assert not consumer_accepts(text)
        return
    if VALIDATOR.is_valid(content) == consumer_accepts(text):
        note("alike")
        return
    explained = [name for name, row in DIFFERENCES.items() if row.explains(content, text.decode())]
    note(f"differ: {explained}")
    assert explained
