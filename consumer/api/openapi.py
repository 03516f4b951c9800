"""The OpenAPI document of the read API."""

from typing import Any, Final

from pattern_metrics.consumer.http.openapi import document, problem_response, reference
from pattern_metrics.schemas.bands import Band

ORDERS: Final = ("best", "worst", "newest", "oldest", "unsure", "name", "id")

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_SCORE: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": 1}
_ID: Final[dict[str, Any]] = {"type": "string", "format": "uuid"}
_MEASURED_AT: Final[dict[str, Any]] = {
    "type": "string",
    "description": "RFC 3339. A row of other software may have a time that no other form can hold.",
}
_NEXT: Final[dict[str, Any]] = {
    "type": ["string", "null"],
    "description": "The value of `after` for the next page; null on the last one.",
}
_PERCENT: Final[dict[str, Any]] = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 100,
    "description": "The percentage of the table's blocks that was read: less than 100 is a sample.",
}


def openapi(*, has_tokens: bool, lookup_max: int, rows_max: int) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        has_tokens: whether a bearer token is required.
        lookup_max: the most ids and names of a lookup.
        rows_max: the most rows of a page.
    """
    after = _query("after", _TEXT, "`next` of the page before.")
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": rows_max}, "Rows; by default 50.")
    pattern_id = {"name": "pattern_id", "in": "path", "required": True, "schema": _ID}
    filters = [
        _query("band", {"enum": [*map(str, Band)]}, "Patterns of this band."),
        _query("name", _TEXT, "Part of the name in any case, or the first 8 or more digits of an id."),
        _query("version", _TEXT, "The scorer's version."),
        _query("dimension", _TEXT, "Patterns with this dimension, by which best and worst are meant."),
        _query("order", {"enum": [*ORDERS]}, "By default best."),
    ]
    lookup = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "ids": {"type": "array", "items": _ID, "maxItems": lookup_max},
            "names": {"type": "array", "items": {**_TEXT, "minLength": 1}, "maxItems": lookup_max},
        },
    }
    operations: dict[str, Any] = {
        "/v1/patterns": {"get": _get("listPatterns", "PatternPage", [*filters, after, limit])},
        "/v1/patterns/{pattern_id}": {"get": _get("getPattern", "WholePattern", [pattern_id], is_one=True)},
        "/v1/patterns/{pattern_id}/history": {
            "get": _get("getHistory", "History", [pattern_id, after, limit])
        },
        "/v1/retired": {"get": _get("listRetired", "RetiredPage", [after, limit])},
        "/v1/distribution": {"get": _get("getDistribution", "Distribution", [])},
        "/v1/patterns:lookup": {
            "post": {
                **_get("lookUpPatterns", "Found", []),
                "description": f"At most {lookup_max} ids and names together.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": lookup}}},
            }
        },
    }
    operations["/v1/patterns:lookup"]["post"]["responses"]["413"] = problem_response(
        "Too many ids and names."
    )
    if has_tokens:
        for path in operations.values():
            for operation in path.values():
                operation["responses"]["401"] = problem_response(
                    "The token is missing or unknown.", "WWW-Authenticate"
                )
    return document(
        "pattern-metrics read API",
        "The current row of each pattern. An answer may be some seconds old, as its header Age says, or be "
        "computed from a sample of a large table. Ask again with If-None-Match.",
        operations,
        _SCHEMAS,
        has_tokens=has_tokens,
    )


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _get(name: str, schema: str, parameters: list[dict[str, Any]], *, is_one: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "The answer.",
            "headers": {"ETag": {"schema": _TEXT}, "Cache-Control": {"schema": _TEXT}},
            "content": {"application/json": {"schema": reference(schema)}},
        },
        "304": {"description": "The client has the answer already."},
        "400": problem_response("A parameter is not valid."),
        "503": problem_response("The database is away or slow.", "Retry-After"),
    }
    if is_one:
        responses["404"] = problem_response("There is no such pattern.")
        responses["410"] = problem_response("The pattern was retired; `retired` has its last row.")
    return {"operationId": name, "parameters": parameters, "responses": responses}


_PATTERN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["pattern_id", "name", "quality_score", "band", "confidence", "dimensions"],
    "properties": {
        "pattern_id": _ID,
        "name": {**_TEXT, "description": "The name in the metadata, or else the id."},
        "quality_score": _SCORE,
        "band": {"enum": [*map(str, Band)]},
        "confidence": _SCORE,
        "version": {"type": ["string", "null"]},
        "measurement_timestamp": _MEASURED_AT,
        "dimensions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "value"],
                "properties": {"name": _TEXT, "value": {**_SCORE, "type": ["number", "null"]}},
            },
        },
        "dimensions_left_out": _COUNT,
    },
}

_RETIRED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["pattern_id", "name", "retired_at", "event_id"],
    "description": "The event that retired the pattern, and the last row; null where there is none.",
    "properties": {
        **_PATTERN["properties"],
        "retired_at": _MEASURED_AT,
        "reason": {"type": ["string", "null"]},
        "event_id": _ID,
        "quality_score": {**_SCORE, "type": ["number", "null"]},
        "band": {"enum": [*map(str, Band), None]},
        "confidence": {**_SCORE, "type": ["number", "null"]},
        "measurement_timestamp": {"type": ["string", "null"]},
    },
}

_MEASUREMENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["measurement_timestamp", "event_id"],
    "properties": {
        "measurement_timestamp": _MEASURED_AT,
        "quality_score": {**_SCORE, "type": ["number", "null"], "description": "null for a retirement."},
        "confidence": {**_SCORE, "type": ["number", "null"]},
        "version": {"type": ["string", "null"]},
        "reason": {"type": ["string", "null"], "description": "The reason of a retirement."},
        "event_id": _ID,
    },
}

_SCHEMAS: Final[dict[str, Any]] = {
    "Pattern": _PATTERN,
    "WholePattern": {
        "allOf": [
            reference("Pattern"),
            {
                "type": "object",
                "required": ["stored", "metadata"],
                "properties": {
                    "stored": {"type": "object", "description": "The row without its metadata."},
                    "metadata": {
                        "type": ["string", "null"],
                        "description": "JSON, at most 200,000 characters.",
                    },
                    "metadata_is_cut": {"type": "boolean"},
                },
            },
        ]
    },
    "PatternPage": {
        "type": "object",
        "required": ["rows", "next", "percent_read"],
        "properties": {
            "rows": {"type": "array", "items": reference("Pattern")},
            "next": _NEXT,
            "percent_read": _PERCENT,
        },
    },
    "RetiredPage": {
        "type": "object",
        "required": ["rows", "next", "percent_read"],
        "properties": {
            "rows": {"type": "array", "items": _RETIRED},
            "next": _NEXT,
            "percent_read": _PERCENT,
        },
    },
    "Found": {
        "type": "object",
        "required": ["rows", "missing"],
        "properties": {
            "rows": {
                "type": "array",
                "description": "In the order of the request; `asked` is the id or the name.",
                "items": {
                    "allOf": [
                        reference("Pattern"),
                        {"type": "object", "required": ["asked"], "properties": {"asked": _TEXT}},
                    ]
                },
            },
            "missing": {"type": "array", "items": _TEXT},
        },
    },
    "History": {
        "type": "object",
        "required": ["rows", "next"],
        "properties": {
            "rows": {"type": "array", "items": _MEASUREMENT},
            "next": _NEXT,
            "history_enabled": {
                "type": ["boolean", "null"],
                "description": "Whether the worker keeps the history; null if no worker serves this.",
            },
        },
    },
    "Distribution": {
        "type": "object",
        "required": ["patterns", "mean", "bands", "buckets", "versions", "percent_read"],
        "properties": {
            "patterns": _COUNT,
            "mean": {**_SCORE, "type": ["number", "null"]},
            "bands": {"type": "object", "additionalProperties": _COUNT},
            "buckets": {
                "type": "array",
                "description": "Patterns by fortieth of the scale.",
                "items": {
                    "type": "object",
                    "properties": {"bucket": _COUNT, "band": {"enum": [*map(str, Band)]}, "patterns": _COUNT},
                },
            },
            "versions": {
                "type": "array",
                "items": {"type": "object", "properties": {"version": _TEXT, "patterns": _COUNT}},
            },
            "percent_read": _PERCENT,
            "rows_read": _COUNT,
        },
    },
}
