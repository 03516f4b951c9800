import json
from typing import Any

import pytest

from pattern_metrics.consumer.dead_letters.letters import DeadLetter, export_line
from pattern_metrics.consumer.dead_letters.selection import parse_coordinates
from pattern_metrics.consumer.records.record import StoredRecord
from pattern_metrics.schemas.pattern_retired import parse_either
from tests.support.events import ACCEPTED_UNTIL, NOW, event, fields
from tests.support.hostile import HOSTILE, STRUCTURED, Headers, Hostile


@pytest.mark.parametrize("text", ["scores/0/5", "a/b/0/5", "file:x.jsonl/0/9223372036854775807"])
def test_coordinates_are_read_as_they_are_printed(text: str) -> None:
    assert str(parse_coordinates(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "scores", "0/5", "/0/5", "scores/0", "scores/-1/5", "scores/x/5", "scores/0/9223372036854775808"],
)
def test_text_that_is_no_coordinates_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not|has a)"):
        parse_coordinates(text)


def a_letter(value: bytes | None, headers: Headers = ()) -> DeadLetter:
    record = StoredRecord("scores", 0, 5, 1, value, headers=headers)
    return DeadLetter(record, "invalid_json", "", NOW, "open", None, None)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_each_hostile_value_becomes_one_line_that_is_json(hostile: Hostile) -> None:
    line, is_value = export_line(a_letter(hostile.value, hostile.headers))

    assert b"\n" not in line
    assert b"\r" not in line
    if is_value:
        assert hostile.value is not None
        assert json.loads(line) is not None or line == b"null"
    else:
        assert json.loads(line)["dead_letter"] == "scores/0/5"


def test_json_that_is_written_over_several_lines_is_joined_to_the_same_json() -> None:
    content = {"text": "a\nb\r\n", "n": [1, {"deep": None}]}
    pretty = json.dumps(content, indent=2).replace("\n", "\r\n").encode()

    line, is_value = export_line(a_letter(pretty + b"\n"))

    assert is_value
    assert json.loads(line) == content
    assert not {b"\n"[0], b"\r"[0]} & set(line)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"{broken", {"value": "{broken"}),
        (b"\xff\xfe", {"value_base64": "//4="}),
        (b"", {"value": ""}),
        (None, {"value": None}),
    ],
)
def test_a_letter_without_json_is_exported_with_its_place_and_not_published(
    value: bytes | None, expected: dict[str, Any]
) -> None:
    line, is_value = export_line(a_letter(value))

    assert not is_value
    assert json.loads(line) == {"dead_letter": "scores/0/5", "reason": "invalid_json", **expected}
    with pytest.raises(ValueError, match="missing_field"):
        parse_either(line, accepted_until=ACCEPTED_UNTIL, is_line=True)


def test_the_prefix_of_a_schema_registry_is_left_out() -> None:
    line, is_value = export_line(a_letter(b"\0\0\0\0\x07" + b'{"quality_score":2}'))

    assert (line, is_value) == (b'{"quality_score":2}', True)


def test_an_event_is_taken_out_of_its_envelope() -> None:
    envelope = json.dumps({"specversion": "1.0", "data": fields(version="ü\n")}, indent=1).encode()

    line, is_value = export_line(a_letter(envelope, STRUCTURED))

    assert is_value
    assert b"\n" not in line
    assert parse_either(line, accepted_until=ACCEPTED_UNTIL, is_line=True) == event(version="ü\n")
