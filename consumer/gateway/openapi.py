"""The OpenAPI document of the gateway, from the event's schema and the limits in the code."""

from typing import Any, Final

from pattern_metrics.consumer.gateway.bodies import (
    BATCH,
    BODY_BYTES_MAX,
    BODY_SECONDS,
    EVENTS_MAX,
    JSON,
    LINES,
    WIRE_BYTES_MAX,
)
from pattern_metrics.consumer.gateway.events import EVENT_BYTES_MAX
from pattern_metrics.consumer.http.openapi import PROBLEM, document, problem_response, reference
from pattern_metrics.consumer.telemetry.metric_table import REFUSED_BY_KAFKA
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.generate import json_schema
from pattern_metrics.schemas.pattern_retired import RETIRED_TYPE
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, STRUCTURED_CONTENT_TYPE

SCORES: Final = "/v1/scores"

_COUNT: Final = {"type": "integer", "minimum": 0}


def openapi(*, has_tokens: bool) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        has_tokens: whether a bearer token is required.
    """
    return document(
        "pattern-metrics gateway",
        "Publishes measurements for agents without a Kafka client. Repeat a request on 408, 429 and 5xx: the "
        "event_id, given or derived from the content, makes it a retry.",
        {SCORES: {"post": _operation(has_tokens=has_tokens)}},
        {
            **_events(),
            "Result": _RESULT,
            "Outcome": _OUTCOME,
            "OutcomeProblem": {"allOf": [PROBLEM, reference("Outcome")]},
        },
        has_tokens=has_tokens,
    )


def _events() -> dict[str, Any]:
    """Return the schemas of events and of CloudEvents. In both kinds of events `event_id` is optional."""
    schema = {name: value for name, value in json_schema().items() if not name.startswith("$")}
    measurement, retirement = (_without_id(kind) for kind in schema["oneOf"])
    return {
        "Measurement": measurement,
        "Retirement": retirement,
        "Event": {**schema, "oneOf": [reference("Measurement"), reference("Retirement")]},
        "CloudEvent": {
            "description": "A CloudEvent in JSON. Its source is replaced by the name of the token.",
            "oneOf": [_cloud_event(EVENT_TYPE, "Measurement"), _cloud_event(RETIRED_TYPE, "Retirement")],
        },
    }


def _cloud_event(event_type: str, data: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"const": event_type},
            "data": reference(data),
        },
    }


def _without_id(kind: dict[str, Any]) -> dict[str, Any]:
    properties = dict(kind["properties"])
    properties["event_id"] = {**properties["event_id"], "type": ["string", "null"]}
    properties["event_id"]["description"] += " Without it, the id is derived from the content."
    return {
        **kind,
        "properties": properties,
        "required": [name for name in kind["required"] if name != "event_id"],
    }


def _operation(*, has_tokens: bool) -> dict[str, Any]:
    event, events = reference("Event"), {"type": "array", "items": reference("Event"), "maxItems": EVENTS_MAX}
    lines = {"schema": {"type": "string", "description": "One event a line."}}
    ok = {"application/json": {"schema": reference("Outcome")}}
    responses: dict[str, Any] = {
        "200": {"description": "All in-sync replicas have every event.", "content": ok},
        "202": {"description": "Some events are stored in the gateway's outbox.", "content": ok},
        "400": problem_response("The request or its body as a whole cannot be read."),
        "403": problem_response("A web site may not publish without a token."),
        "408": problem_response(f"The body did not arrive within {BODY_SECONDS:g} s."),
        "413": problem_response("The body is larger than the limits, which are named."),
        "415": problem_response("The content type or encoding is none that is read.", "Accept-Post"),
        "422": problem_response(
            "Some events are refused for good, and all others are accepted.", schema="OutcomeProblem"
        ),
        "429": problem_response("The token has its share in flight.", "Retry-After"),
        "503": problem_response(
            "Some events are not acknowledged, or too much is in flight: repeat the request.", "Retry-After"
        ),
    }
    if has_tokens:
        responses["401"] = problem_response("The token is missing or unknown.", "WWW-Authenticate")
    return {
        "operationId": "publishScores",
        "summary": "Publish one or more events",
        "description": f"The limits: {WIRE_BYTES_MAX} bytes as sent, {BODY_BYTES_MAX} after unpacking "
        f"(Content-Encoding gzip), {EVENTS_MAX} events, {EVENT_BYTES_MAX} bytes an event. With ce- headers, "
        f"{JSON} is a CloudEvent in binary mode, whose ce-type must be {EVENT_TYPE}.",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": [event, events]}},
                **dict.fromkeys(LINES, lines),
                STRUCTURED_CONTENT_TYPE: {"schema": reference("CloudEvent")},
                BATCH: {
                    "schema": {"type": "array", "items": reference("CloudEvent"), "maxItems": EVENTS_MAX}
                },
            },
        },
        "responses": responses,
    }


_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["index", "event_id", "status"],
    "properties": {
        "index": {**_COUNT, "description": "The place of the event in the request."},
        "event_id": {"type": ["string", "null"], "description": "null if the event could not be read."},
        "status": {"enum": ["accepted", "refused", "unacknowledged"]},
        "reason": {"enum": [*map(str, RejectReason), REFUSED_BY_KAFKA, "unacknowledged"]},
        "detail": {"type": "string", "description": "The fault, for a person."},
        "partition": {**_COUNT, "description": "With offset, the event's place in the topic."},
        "offset": _COUNT,
    },
}

_OUTCOME: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["accepted", "refused", "unacknowledged", "durable", "results"],
    "properties": {
        "accepted": _COUNT,
        "refused": _COUNT,
        "unacknowledged": _COUNT,
        "durable": {
            "enum": ["kafka", "local"],
            "description": "local: at least one accepted event is on the gateway's disk only.",
        },
        "results": {"type": "array", "items": reference("Result")},
    },
}
