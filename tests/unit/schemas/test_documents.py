"""The generated documents are current, valid, and agree with the model."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

import pattern_metrics.schemas
from pattern_metrics.publisher.scoring.scorer import WEIGHTS
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.event_limits import VERSION_CHARACTERS_MAX
from pattern_metrics.schemas.generate import ASYNCAPI_FILE, JSON_SCHEMA_FILE, documents
from pattern_metrics.schemas.pattern_retired import REASON_CHARACTERS_MAX, parse_either
from pattern_metrics.schemas.pattern_scored import (
    DIMENSIONS,
    METADATA_BYTES_MAX,
)
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.events import ACCEPTED_UNTIL, PATTERN_ID, REQUIRED, fields, nested

DIRECTORY = Path(pattern_metrics.schemas.__file__).parent

FORMATS = jsonschema.FormatChecker()


def checked_in(name: str) -> str:
    return (DIRECTORY / name).read_text(encoding="utf-8")


JSON_SCHEMA: dict[str, Any] = json.loads(checked_in(JSON_SCHEMA_FILE))
SCORED, RETIRED = JSON_SCHEMA["oneOf"]


def schema_accepts(example: object) -> bool:
    validator = jsonschema.Draft202012Validator(JSON_SCHEMA, format_checker=FORMATS)
    return bool(validator.is_valid(example))


def model_accepts(example: object) -> bool:
    try:
        parse_either(json.dumps(example).encode(), accepted_until=ACCEPTED_UNTIL)
    except InvalidEventError:
        return False
    return True


@pytest.mark.parametrize("name", [JSON_SCHEMA_FILE, ASYNCAPI_FILE])
def test_a_document_is_what_the_model_generates(name: str) -> None:
    assert set(documents()) == {JSON_SCHEMA_FILE, ASYNCAPI_FILE}
    assert checked_in(name) == documents()[name]


def test_the_json_schema_is_valid_2020_12() -> None:
    assert JSON_SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(JSON_SCHEMA)


def test_the_json_schema_needs_no_other_document() -> None:
    assert "$ref" not in checked_in(JSON_SCHEMA_FILE)


def test_each_field_is_described() -> None:
    assert set(SCORED["properties"]) == {*REQUIRED, "version", "metadata"}
    assert set(SCORED["required"]) == set(REQUIRED)
    assert set(RETIRED["required"]) == {"event_id", "pattern_id", "retired_at"}
    assert all(field["description"] for kind in (SCORED, RETIRED) for field in kind["properties"].values())


def test_asyncapi_carries_the_same_schema_and_the_default_topic() -> None:
    document = yaml.safe_load(checked_in(ASYNCAPI_FILE))
    messages = document["components"]["messages"].values()
    (channel,) = document["channels"].values()

    assert document["asyncapi"].startswith("3.")
    dialect = {"$schema": JSON_SCHEMA["$schema"]}
    assert [one["payload"]["schema"] for one in messages] == [dialect | SCORED, dialect | RETIRED]
    assert channel["messages"].keys() == document["components"]["messages"].keys()
    assert channel["address"] == KafkaSettings.model_fields["kafka_topic"].default
    types = [one["headers"]["properties"]["ce_type"]["const"] for one in messages]
    assert types == ["pattern.scored.v1", "pattern.retired.v1"]


def retirement(**changes: Any) -> dict[str, Any]:
    event = {"event_id": str(PATTERN_ID), "pattern_id": str(PATTERN_ID), "retired_at": "2025-06-01T12:00:00Z"}
    return event | changes


VALID: dict[str, Any] = {
    "a retirement": retirement(),
    "a retirement with all": retirement(reason="é" * REASON_CHARACTERS_MAX, metadata={"a": 1}),
    "a retirement with every field of both": retirement(quality_score=None, confidence=None, reason=None),
    "a score with a time of retirement": fields(retired_at="2025-06-01T12:00:00Z"),
    "a score that was never retired": fields(retired_at=None),
    "plain": fields(),
    "with all": fields(version="2", metadata={"a": [1, {"b": None}], "ü": True}),
    "an unknown field": fields(unknown=[1]),
    "bounds below": fields(quality_score=0, confidence=0.0),
    "bounds above": fields(quality_score=1, confidence=1.0),
    "ids in capitals": fields(pattern_id=str(PATTERN_ID).upper()),
    "the smallest id": fields(event_id="00000000-0000-0000-0000-000000000000"),
    "an offset": fields(measurement_timestamp="2025-06-01T14:00:00.123456+02:00"),
    "an empty version": fields(version=""),
    "64 characters": fields(version="😀" * VERSION_CHARACTERS_MAX),
    "no version": fields(version=None),
    "no metadata": fields(metadata=None),
    "a space in the time": fields(measurement_timestamp="2025-06-01 12:00:00.1234567890z"),
    "the last day of February": fields(measurement_timestamp="2024-02-29t23:59:59-23:59"),
}

INVALID: dict[str, Any] = {
    **{
        f"a retirement without {name}": {key: one for key, one in retirement().items() if key != name}
        for name in retirement()
    },
    "a retirement with a bad time": retirement(retired_at="2025-06-01"),
    "a long reason": retirement(reason="x" * (REASON_CHARACTERS_MAX + 1)),
    "a reason that is a number": retirement(reason=1),
    "a reason with u+0000": retirement(reason="a\0"),
    "a retirement with the metadata of none": retirement(metadata=[]),
    "null": None,
    "a list": [fields()],
    "a string": json.dumps(fields()),
    "empty": {},
    **{f"no {name}": {key: content for key, content in fields().items() if key != name} for name in REQUIRED},
    **{f"{name} is null": fields(**{name: None}) for name in REQUIRED},
    **{f"{name} is a number": fields(**{name: 1}) for name in ("event_id", "pattern_id", "version")},
    **{f"{name} is a list": fields(**{name: []}) for name in (*REQUIRED, "version", "metadata")},
    **{f"{name} is true": fields(**{name: True}) for name in ("quality_score", "confidence")},
    **{f"{name} is text": fields(**{name: "0.8"}) for name in ("quality_score", "confidence")},
    **{f"{name} below": fields(**{name: -0.001}) for name in ("quality_score", "confidence")},
    **{f"{name} above": fields(**{name: 1.001}) for name in ("quality_score", "confidence")},
    "the time is a number": fields(measurement_timestamp=1_767_225_600),
    "an id that is none": fields(event_id="pattern"),
    "an id cut off": fields(pattern_id=str(PATTERN_ID)[:-1]),
    "65 characters": fields(version="a" * (VERSION_CHARACTERS_MAX + 1)),
    "metadata in a string": fields(metadata="{}"),
    "u+0000 in the version": fields(version="a\0"),
    "a time without an offset": fields(measurement_timestamp="2025-06-01T12:00:00"),
    "a date": fields(measurement_timestamp="2025-06-01"),
    "a number in text": fields(measurement_timestamp="1767225600"),
    "no such day": fields(measurement_timestamp="2025-06-31T12:00:00Z"),
    "a leap second": fields(measurement_timestamp="2016-12-31T23:59:60Z"),
    "an offset without a colon": fields(measurement_timestamp="2025-06-01T12:00:00+0100"),
    "the year 0": fields(measurement_timestamp="0000-01-01T00:00:00Z"),
    "an id and a line break": fields(event_id=f"{PATTERN_ID}\n"),
}


@pytest.mark.parametrize("name", VALID)
def test_the_model_and_the_json_schema_accept_the_same(name: str) -> None:
    assert model_accepts(VALID[name])
    assert schema_accepts(VALID[name])


@pytest.mark.parametrize("name", INVALID)
def test_the_model_and_the_json_schema_refuse_the_same(name: str) -> None:
    assert not model_accepts(INVALID[name])
    assert not schema_accepts(INVALID[name])


class Exemption(NamedTuple):
    """An example on which the two differ, and the reason."""

    why: str
    example: dict[str, Any]


REFUSED_BY_THE_MODEL_ALONE = {
    "u+0000": Exemption("JSON Schema has no word for it at any depth", fields(metadata={"a": "\0"})),
    "a lone surrogate": Exemption("JSON Schema has no word for it", fields(metadata={"a": "\ud800"})),
    "depth": Exemption("JSON Schema cannot count levels", fields(metadata=nested(101))),
    "size": Exemption("JSON Schema cannot count bytes", fields(metadata={"a": "x" * METADATA_BYTES_MAX})),
    "future": Exemption("JSON Schema has no clock", fields(measurement_timestamp="2999-01-01T00:00:00Z")),
    "not finite": Exemption("no JSON at all (RFC 8259)", fields(metadata={"a": float("inf")})),
}

ACCEPTED_BY_THE_MODEL_ALONE = {
    "an id without hyphens": Exemption("a reader is tolerant", fields(event_id=PATTERN_ID.hex)),
    "an id as a urn": Exemption("a reader is tolerant", fields(event_id=PATTERN_ID.urn)),
    "an id in braces": Exemption("a reader is tolerant", fields(event_id=f"{{{PATTERN_ID}}}")),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_MODEL_ALONE)
def test_only_the_model_refuses_what_json_schema_cannot_express(name: str) -> None:
    exemption = REFUSED_BY_THE_MODEL_ALONE[name]

    assert schema_accepts(exemption.example), f"no longer true: {exemption.why}"
    assert not model_accepts(exemption.example)


@pytest.mark.parametrize("name", ACCEPTED_BY_THE_MODEL_ALONE)
def test_each_exemption_of_the_model_is_refused_by_the_json_schema(name: str) -> None:
    exemption = ACCEPTED_BY_THE_MODEL_ALONE[name]

    assert not schema_accepts(exemption.example), f"no longer true: {exemption.why}"
    assert model_accepts(exemption.example)


def test_the_schema_names_what_readers_take_from_metadata() -> None:
    description = SCORED["properties"]["metadata"]["description"]

    assert list(DIMENSIONS) == list(WEIGHTS)
    assert all(dimension in description for dimension in ("name", "dimensions", *DIMENSIONS))


def test_formats_are_named_for_validators_and_generators() -> None:
    assert SCORED["properties"]["measurement_timestamp"]["format"] == "date-time"
    assert RETIRED["properties"]["retired_at"]["format"] == "date-time"
    assert {SCORED["properties"][name]["format"] for name in ("event_id", "pattern_id")} == {"uuid"}
