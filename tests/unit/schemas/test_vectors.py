"""The vectors are complete, and JSON Schema and the gateway give each the verdict that its line names."""

import json
from datetime import UTC, datetime

import jsonschema

from pattern_metrics.consumer.gateway.events import RefusedItem, decide
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.generate import json_schema
from tests.properties.test_schema_and_consumer import Validator
from tests.support.vectors import vectors

FORMATS = jsonschema.FormatChecker()
VALIDATOR = Validator(json_schema(), format_checker=FORMATS)

NOT_OF_A_VALUE = {RejectReason.REFUSED_BY_DATABASE}


def is_time(text: object) -> bool:
    """Check that the day exists, for which the library needs another package. The pattern checks the rest."""
    return not isinstance(text, str) or datetime.fromisoformat(text.upper()) is not None


FORMATS.checks("date-time", raises=ValueError)(is_time)


def test_there_is_a_vector_for_each_reason_and_each_has_a_name_of_its_own() -> None:
    assert {vector.reason for vector in vectors()} - {None} == {*RejectReason} - NOT_OF_A_VALUE
    assert len({vector.name for vector in vectors()}) == len(vectors())
    assert all((vector.row is None) == (vector.verdict == "refused") for vector in vectors())
    assert all((vector.reason is None) == (vector.verdict == "accepted") for vector in vectors())


def test_the_json_schema_says_of_each_vector_what_its_line_says() -> None:
    wrong = [
        vector.name
        for vector in vectors()
        if vector.schema is not None
        and vector.value is not None
        and VALIDATOR.is_valid(json.loads(vector.value)) != (vector.schema == "accepts")
    ]

    assert wrong == []


def test_the_gateway_decides_as_the_worker_does_and_derives_a_missing_id() -> None:
    now = datetime.now(UTC)

    for vector in vectors():
        if vector.value is not None:
            [decided] = decide([vector.value], (), accepted_until=now)
            reason = decided.reason if isinstance(decided, RefusedItem) else None
            assert reason == (None if "event_id" in vector.name else vector.reason), vector.name
