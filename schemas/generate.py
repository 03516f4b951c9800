"""The contract as documents for agents in other languages, generated from the model and checked in.

`python -m pattern_metrics.schemas.generate` writes them; a test keeps them in step.
"""

import json
from pathlib import Path
from typing import Any, Final

from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored
from pattern_metrics.schemas.settings.kafka import KafkaSettings

JSON_SCHEMA_FILE: Final = "pattern-scored.v1.schema.json"
ASYNCAPI_FILE: Final = "asyncapi.yaml"

_JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The event as JSON Schema 2020-12."""
    schema = PatternScored.model_json_schema()
    schema.pop("$defs")  # holds `JsonValue` alone: anything
    schema["properties"]["metadata"]["additionalProperties"] = True
    for field in schema["properties"].values():
        field.pop("title")
    return {
        "$schema": _JSON_SCHEMA_DIALECT,
        "$id": f"urn:pattern-metrics:{EVENT_TYPE}",
        **schema,
        "additionalProperties": True,
    }


def asyncapi() -> dict[str, Any]:
    """The topic, its records and their headers as an AsyncAPI 3 document."""
    header = {"type": "string"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pattern-metrics",
            "version": "1.0.0",
            "description": "Agents publish one event per measurement of a pattern's quality.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "patternScored": {
                "address": KafkaSettings.model_fields["kafka_topic"].default,
                "messages": {"patternScored": {"$ref": "#/components/messages/patternScored"}},
            }
        },
        "operations": {
            "publishScore": {
                "action": "send",
                "channel": {"$ref": "#/channels/patternScored"},
                "summary": "An agent publishes a measurement.",
            },
            "consumeScore": {
                "action": "receive",
                "channel": {"$ref": "#/channels/patternScored"},
                "summary": "The worker keeps one current row per pattern.",
            },
        },
        "components": {
            "messages": {
                "patternScored": {
                    "name": EVENT_TYPE,
                    "title": "PatternScored",
                    "contentType": "application/json",
                    "headers": {
                        "type": "object",
                        "description": "CloudEvents 1.0, Kafka binding, binary mode. A consumer needs "
                        "none of them.",
                        "properties": {
                            "ce_specversion": {"type": "string", "const": "1.0"},
                            "ce_id": {**header, "description": "The event_id."},
                            "ce_source": {**header, "description": "Who measured: a URI reference."},
                            "ce_type": {"type": "string", "const": EVENT_TYPE},
                            "ce_time": {**header, "description": "The measurement_timestamp."},
                            "content-type": {"type": "string", "const": "application/json"},
                            "traceparent": {
                                **header,
                                "description": "W3C Trace Context, where there is one.",
                            },
                            "tracestate": {**header, "description": "Likewise."},
                        },
                    },
                    "payload": {
                        "schemaFormat": "application/schema+json;version=2020-12",
                        "schema": json_schema(),
                    },
                    "bindings": {
                        "kafka": {
                            "bindingVersion": "0.5.0",
                            "key": {
                                "type": "string",
                                "format": "uuid",
                                "description": "The pattern_id in canonical lower-case form, so that one "
                                "pattern lives in one partition.",
                            },
                        }
                    },
                }
            }
        },
    }


def documents() -> dict[str, str]:
    """File name → text of every generated document."""
    import yaml  # a development dependency: the documents are made here and shipped

    return {
        JSON_SCHEMA_FILE: json.dumps(json_schema(), indent=2) + "\n",
        ASYNCAPI_FILE: yaml.safe_dump(asyncapi(), sort_keys=False, width=110),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
