"""Generates the JSON Schema and AsyncAPI documents from the model, for agents in other languages.

`python -m pattern_metrics.schemas.generate` writes the documents, which are checked in. A test compares them
with the model.
"""

import json
from pathlib import Path
from typing import Any, Final

from pattern_metrics.schemas.pattern_retired import PatternEvent, PatternRetired
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, JSON_DEPTH_MAX, PatternScored
from pattern_metrics.schemas.settings.kafka import KafkaSettings

JSON_SCHEMA_FILE: Final = "pattern-scored.v1.schema.json"
ASYNCAPI_FILE: Final = "asyncapi.yaml"

_UUID: Final = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
_UUID_CHARACTERS: Final = 36

_YEAR: Final = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_MONTH_AND_DAY: Final = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
)
_HOUR_AND_MINUTE: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME_PATTERN: Final = (
    f"^{_YEAR}-{_MONTH_AND_DAY}[Tt ]{_HOUR_AND_MINUTE}:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]{_HOUR_AND_MINUTE})$"
)

_BY_PATTERN: Final[dict[str, dict[str, Any]]] = {
    "event_id": {"pattern": _UUID, "maxLength": _UUID_CHARACTERS},
    "pattern_id": {"pattern": _UUID, "maxLength": _UUID_CHARACTERS},
    "measurement_timestamp": {"pattern": _TIME_PATTERN},
    "retired_at": {"pattern": _TIME_PATTERN},
    "version": {"pattern": "^[^\\x00]*$"},
    "reason": {"pattern": "^[^\\x00]*$"},
}
"""Checks that the model does in code, for validators that ignore `format` as well."""

_LIMITS: Final = (
    f"A JSON object in UTF-8, nested at most {JSON_DEPTH_MAX} levels deep, without a number of more than "
    "4,300 digits and without a lone surrogate. docs/reference/event.md lists where the consumer decides "
    "otherwise."
)

_JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the events of the topic as JSON Schema 2020-12: a measurement or a retirement."""
    return {
        "$schema": _JSON_SCHEMA_DIALECT,
        "$id": f"urn:pattern-metrics:{EVENT_TYPE}",
        "title": "PatternEvent",
        "description": f"A measurement or a retirement of a pattern. {_LIMITS}",
        "oneOf": [_schema_of(PatternScored), _schema_of(PatternRetired)],
    }


def _schema_of(kind: type[PatternEvent]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    schema.pop("$defs")  # holds only `JsonValue`, which allows anything
    schema["properties"]["metadata"]["additionalProperties"] = True
    for name, field in schema["properties"].items():
        field.pop("title")
        for option in field.pop("anyOf", []):
            if option["type"] != "null":
                field.update(option)
        field.update(_BY_PATTERN.get(name, {}))
        if name not in schema["required"]:
            field["type"] = [field["type"], "null"]  # null counts as absent
    if kind is PatternRetired:  # with a score, the event is a measurement
        schema["properties"]["quality_score"] = {"type": "null", "description": "Absent in a retirement."}
    return {**schema, "additionalProperties": True}


def _headers_of(kind: type[PatternEvent]) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "CloudEvents 1.0, Kafka binding, binary mode. A consumer needs none of them, and "
        "refuses a record whose ce_type is another.",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {**text, "description": "The event_id."},
            "ce_source": {**text, "description": "Who sent the event: a URI reference."},
            "ce_type": {"type": "string", "const": kind.EVENT_TYPE},
            "ce_time": {**text, "description": f"The {kind.TIME_FIELD}."},
            "content-type": {"type": "string", "const": "application/json"},
            "traceparent": {**text, "description": "W3C Trace Context, where there is one."},
            "tracestate": {**text, "description": "Likewise."},
        },
    }


def _message(kind: type[PatternEvent]) -> dict[str, Any]:
    return {
        "name": kind.EVENT_TYPE,
        "title": kind.__name__,
        "contentType": "application/json",
        "headers": _headers_of(kind),
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": {"$schema": _JSON_SCHEMA_DIALECT, **_schema_of(kind)},
        },
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "key": {
                    "type": "string",
                    "format": "uuid",
                    "description": "The pattern_id in canonical lower-case form, so that one pattern "
                    "lives in one partition.",
                },
            }
        },
    }


_MESSAGES: Final[dict[str, type[PatternEvent]]] = {
    "patternScored": PatternScored,
    "patternRetired": PatternRetired,
}


def asyncapi() -> dict[str, Any]:
    """Return the topic, its records and their headers as an AsyncAPI 3 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pattern-metrics",
            "version": "1.0.0",
            "description": "Agents publish one event per measurement of a pattern's quality, and one when "
            "a pattern no longer exists.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "patternScored": {
                "address": KafkaSettings.model_fields["kafka_topic"].default,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _MESSAGES},
            }
        },
        "operations": {
            "publishScore": {
                "action": "send",
                "channel": {"$ref": "#/channels/patternScored"},
                "summary": "An agent publishes a measurement or a retirement.",
            },
            "consumeScore": {
                "action": "receive",
                "channel": {"$ref": "#/channels/patternScored"},
                "summary": "The worker keeps one current row per pattern that is not retired.",
            },
        },
        "components": {
            "messages": {name: _message(kind) for name, kind in _MESSAGES.items()},
        },
    }


def documents() -> dict[str, str]:
    """Return the text of every generated document by file name."""
    import yaml  # a development dependency: the documents are generated here and shipped

    return {
        JSON_SCHEMA_FILE: json.dumps(json_schema(), indent=2) + "\n",
        ASYNCAPI_FILE: yaml.safe_dump(asyncapi(), sort_keys=False, width=110),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
