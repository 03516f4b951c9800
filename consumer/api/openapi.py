"""The OpenAPI document of the read API."""

from typing import Any, Final

from pattern_metrics.consumer.api.shapes import ID, INTEGER, SCHEMAS, TEXT
from pattern_metrics.consumer.http.access import Access
from pattern_metrics.consumer.http.openapi import document, problem_response, reference
from pattern_metrics.schemas.bands import Band

ORDERS: Final = ("best", "worst", "newest", "oldest", "unsure", "name", "id")

ROWS_MAX: Final = 500
"""Most rows of a page."""

LOOKUP_MAX: Final = 1_000
"""Most ids and names of one lookup."""


def openapi(access: Access) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        access: who may read.
    """
    after = _query("after", TEXT, "`next` of the page before.")
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": ROWS_MAX}, "Rows; by default 50.")
    pattern_id = {"name": "pattern_id", "in": "path", "required": True, "schema": ID}
    event_id = {"name": "event_id", "in": "path", "required": True, "schema": ID}
    pattern = _query("pattern", TEXT, "The id or the name of its pattern, which makes the search quick.")
    prefix = _query("prefix", TEXT, "The beginning of the names, such as `shop.cart:`; by default all.")
    of_letters = [
        _query("reason", TEXT, "Dead letters of this reason."),
        _query("detail", TEXT, "Dead letters with this detail, of which 500 characters count."),
    ]
    filters = [
        _query("band", {"enum": [*map(str, Band)]}, "Patterns of this band."),
        _query("name", TEXT, "Part of the name in any case, or the first 8 or more digits of an id."),
        _query("version", TEXT, "The scorer's version."),
        _query("dimension", TEXT, "Patterns with this dimension, by which best and worst are meant."),
        _query("order", {"enum": [*ORDERS]}, "By default best."),
    ]
    lookup = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "ids": {"type": "array", "items": ID, "maxItems": LOOKUP_MAX},
            "names": {"type": "array", "items": {**TEXT, "minLength": 1}, "maxItems": LOOKUP_MAX},
        },
    }
    letter = [
        _query("topic", TEXT, "Its topic.", is_required=True),
        *(_query(name, INTEGER, f"Its {name}.", is_required=True) for name in ("partition", "offset")),
        _query("timestamp", INTEGER, "Its `record_timestamp`.", is_required=True),
    ]
    operations: dict[str, Any] = {
        "/v1/patterns": {"get": _get("listPatterns", "PatternPage", [*filters, after, limit])},
        "/v1/patterns/{pattern_id}": {"get": _get("getPattern", "WholePattern", [pattern_id])},
        "/v1/patterns/{pattern_id}/history": {
            "get": _get("getHistory", "History", [pattern_id, after, limit])
        },
        "/v1/retired": {"get": _get("listRetired", "RetiredPage", [after, limit])},
        "/v1/distribution": {"get": _get("getDistribution", "Distribution", [])},
        "/v1/changes": {"get": _get("listChanges", "Changes", [limit])},
        "/v1/rollup": {"get": _get("getRollup", "Rollup", [prefix])},
        "/v1/trend": {"get": _get("getTrend", "Trend", [])},
        "/v1/progress": {"get": _get("getProgress", "Progress", [])},
        "/v1/last-hour": {"get": _get("getLastHour", "LastHour", [])},
        "/v1/gaps": {"get": _get("listGaps", "Gaps", [])},
        "/v1/events/{event_id}": {"get": _get("traceEvent", "Event", [event_id, pattern])},
        "/v1/dead-letters": {"get": _get("listDeadLetters", "DeadLetterPage", [*of_letters, after, limit])},
        "/v1/dead-letters/summary": {"get": _get("getDeadLetterSummary", "DeadLetterSummary", [])},
        "/v1/dead-letter": {"get": _get("getDeadLetter", "DeadLetter", letter)},
        "/v1/patterns:lookup": {
            "post": {
                **_get("lookUpPatterns", "Found", []),
                "description": f"At most {LOOKUP_MAX} ids and names together.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": lookup}}},
            }
        },
    }
    one = operations["/v1/patterns/{pattern_id}"]["get"]["responses"]
    one["404"] = problem_response("There is no such pattern.")
    one["410"] = problem_response("The pattern was retired; `retired` has its last row.")
    operations["/v1/dead-letter"]["get"]["responses"]["404"] = problem_response(
        "There is no such dead letter."
    )
    operations["/v1/patterns:lookup"]["post"]["responses"]["413"] = problem_response(
        "Too many ids and names."
    )
    refused = problem_response("The token is missing or unknown.", "WWW-Authenticate")
    elsewhere = problem_response("Another machine needs a token.")
    for path in operations.values():
        for operation in path.values():
            if access.tokens is not None:
                operation["responses"]["401"] = refused
            elif not access.is_open:
                operation["responses"]["403"] = elsewhere
    return document(
        "pattern-metrics read API",
        "The current row of each pattern. An answer may be some seconds old, as its header Age says, or be "
        "computed from a sample of a large table. Ask again with If-None-Match.",
        operations,
        SCHEMAS,
        has_tokens=access.tokens is not None,
    )


def _query(
    name: str, schema: dict[str, Any], description: str, *, is_required: bool = False
) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "schema": schema, "description": description}
    return {**parameter, "required": True} if is_required else parameter


def _get(name: str, schema: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "The answer.",
            "headers": {"ETag": {"schema": TEXT}, "Cache-Control": {"schema": TEXT}},
            "content": {"application/json": {"schema": reference(schema)}},
        },
        "304": {"description": "The client has the answer already."},
        "400": problem_response("A parameter is not valid."),
        "503": problem_response("The database is away or slow.", "Retry-After"),
    }
    return {"operationId": name, "parameters": parameters, "responses": responses}
