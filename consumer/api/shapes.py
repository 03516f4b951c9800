"""The shapes of the answers, as JSON Schema."""

from typing import Any, Final

from pattern_metrics.consumer.http.openapi import reference
from pattern_metrics.schemas.bands import Band

TEXT: Final[dict[str, Any]] = {"type": "string"}
COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
SCORE: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": 1}
INTEGER: Final[dict[str, Any]] = {"type": "integer"}
NUMBER: Final[dict[str, Any]] = {"type": "number"}
SECONDS: Final[dict[str, Any]] = {"type": "number", "description": "Seconds since the epoch."}
ID: Final[dict[str, Any]] = {"type": "string", "format": "uuid"}
MEASURED_AT: Final[dict[str, Any]] = {
    "type": "string",
    "description": "RFC 3339. A row of other software may have a time that no other form can hold.",
}
NEXT: Final[dict[str, Any]] = {
    "type": ["string", "null"],
    "description": "The value of `after` for the next page; null on the last one.",
}
PERCENT: Final[dict[str, Any]] = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 100,
    "description": "The percentage of the table's blocks that was read: less than 100 is a sample.",
}


def shape(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object. `required` names the members that it always has."""
    return {"type": "object", "required": required.split(), "properties": properties}


def rows_of(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]}


PATTERN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["pattern_id", "name", "quality_score", "band", "confidence", "dimensions"],
    "properties": {
        "pattern_id": ID,
        "name": {**TEXT, "description": "The name in the metadata, or else the id."},
        "quality_score": SCORE,
        "band": {"enum": [*map(str, Band)]},
        "confidence": SCORE,
        "version": {"type": ["string", "null"]},
        "measurement_timestamp": MEASURED_AT,
        "dimensions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "value"],
                "properties": {"name": TEXT, "value": {**SCORE, "type": ["number", "null"]}},
            },
        },
        "dimensions_left_out": COUNT,
    },
}

RETIRED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["pattern_id", "name", "retired_at", "event_id"],
    "description": "The event that retired the pattern, and the last row; null where there is none.",
    "properties": {
        **PATTERN["properties"],
        "retired_at": MEASURED_AT,
        "reason": {"type": ["string", "null"]},
        "event_id": ID,
        "quality_score": {**SCORE, "type": ["number", "null"]},
        "band": {"enum": [*map(str, Band), None]},
        "confidence": {**SCORE, "type": ["number", "null"]},
        "measurement_timestamp": {"type": ["string", "null"]},
    },
}

MEASUREMENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["measurement_timestamp", "event_id"],
    "properties": {
        "measurement_timestamp": MEASURED_AT,
        "quality_score": {**SCORE, "type": ["number", "null"], "description": "null for a retirement."},
        "confidence": {**SCORE, "type": ["number", "null"]},
        "version": {"type": ["string", "null"]},
        "reason": {"type": ["string", "null"], "description": "The reason of a retirement."},
        "event_id": ID,
    },
}

SCHEMAS: Final[dict[str, Any]] = {
    "Pattern": PATTERN,
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
            "next": NEXT,
            "percent_read": PERCENT,
        },
    },
    "RetiredPage": {
        "type": "object",
        "required": ["rows", "next", "percent_read"],
        "properties": {
            "rows": {"type": "array", "items": RETIRED},
            "next": NEXT,
            "percent_read": PERCENT,
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
                        {"type": "object", "required": ["asked"], "properties": {"asked": TEXT}},
                    ]
                },
            },
            "missing": {"type": "array", "items": TEXT},
        },
    },
    "History": {
        "type": "object",
        "required": ["rows", "next"],
        "properties": {
            "rows": {"type": "array", "items": MEASUREMENT},
            "next": NEXT,
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
            "patterns": COUNT,
            "mean": {**SCORE, "type": ["number", "null"]},
            "bands": {"type": "object", "additionalProperties": COUNT},
            "buckets": {
                "type": "array",
                "description": "Patterns by fortieth of the scale.",
                "items": {
                    "type": "object",
                    "properties": {"bucket": COUNT, "band": {"enum": [*map(str, Band)]}, "patterns": COUNT},
                },
            },
            "versions": {
                "type": "array",
                "items": {"type": "object", "properties": {"version": TEXT, "patterns": COUNT}},
            },
            "percent_read": PERCENT,
            "rows_read": COUNT,
        },
    },
    "Changes": shape(
        "rows has_history percent_read",
        rows={
            "type": "array",
            "items": {
                "allOf": [
                    reference("Pattern"),
                    shape(
                        "change earlier_quality_score earlier_measurement_timestamp",
                        change={"type": "number", "minimum": -1, "maximum": 1},
                        earlier_quality_score=SCORE,
                        earlier_measurement_timestamp=MEASURED_AT,
                    ),
                ]
            },
        },
        has_history={"type": "boolean", "description": "Whether the history holds a measurement."},
        percent_read=PERCENT,
    ),
    "Rollup": shape(
        "prefix patterns mean worst change change_days parts rows percent_read percent_compared",
        prefix=TEXT,
        patterns=COUNT,
        mean=or_null(SCORE),
        worst=or_null(SCORE),
        change={**or_null(NUMBER), "description": "Mean change of the scores in `change_days`."},
        change_days=COUNT,
        parts={**COUNT, "description": "The number of all parts, of which `rows` has at most 500."},
        rows=rows_of(
            shape(
                "part patterns mean worst bands change pattern_id",
                part={
                    **or_null(TEXT),
                    "description": "The prefix with the next part of the name, to the next of . : / or to "
                    "the end; null for patterns without a name. It is the prefix of the next rollup.",
                },
                patterns=COUNT,
                mean=SCORE,
                worst=SCORE,
                bands={"type": "object", "additionalProperties": COUNT},
                change={**or_null(NUMBER), "description": "null if the history has no earlier scores."},
                pattern_id={**or_null(ID), "description": "The pattern, if the part is its whole name."},
            ),
            "The parts with the most patterns come first.",
        ),
        percent_read=PERCENT,
        percent_compared={**PERCENT, "description": "The percentage from which the changes come."},
    ),
    "Trend": shape(
        "weeks direction since percent_read",
        weeks=rows_of(
            shape(
                "week patterns mean",
                week={"type": "string", "format": "date", "description": "Its Monday, in UTC."},
                patterns=COUNT,
                mean=SCORE,
            ),
            "At most 26 weeks. Each has the state at its end, as far as the history knows it.",
        ),
        direction={"enum": ["rising", "falling", "level", None]},
        since={**or_null(TEXT), "description": "The last week before the mean took its direction."},
        percent_read=PERCENT,
    ),
    "Progress": shape(
        "version now worker partitions",
        version=TEXT,
        now=SECONDS,
        worker={
            **or_null(
                shape(
                    "group topics obstacles outcomes records_per_second lag seconds_until_clear",
                    group=TEXT,
                    topics=rows_of(TEXT),
                    obstacles={
                        "type": "object",
                        "additionalProperties": TEXT,
                        "description": "Why the worker is not ready, by component.",
                    },
                    clocks={**or_null(TEXT), "description": "How far the clocks differ, if they do."},
                    outcomes={
                        "type": "object",
                        "additionalProperties": COUNT,
                        "description": "The records that were read since the start, by outcome.",
                    },
                    records_per_second={**or_null(NUMBER), "description": "Over the last minute."},
                    lag=or_null(COUNT),
                    seconds_until_clear=or_null(NUMBER),
                )
            ),
            "description": "The worker that answers; null if none does.",
        },
        partitions=rows_of(
            shape(
                "consumer_group topic partition next_offset updated_at per_second lag lag_seconds",
                consumer_group=TEXT,
                topic=TEXT,
                partition=COUNT,
                next_offset={**or_null(TEXT), "description": "The first offset that is not yet written."},
                updated_at=or_null(NUMBER),
                per_second={**or_null(NUMBER), "description": "Offsets written, over the last minute."},
                lag={**or_null(COUNT), "description": "null where only another worker knows it."},
                lag_seconds=or_null(NUMBER),
                lag_change={**or_null(NUMBER), "description": "Change of the lag a second."},
                seconds_until_clear=or_null(NUMBER),
            ),
            "The groups that wrote last come first; at most 1,000.",
        ),
    ),
    "LastHour": shape(
        "since now points",
        since={
            **or_null(NUMBER),
            "description": "Time of the first reading. The readings begin again when the process restarts.",
        },
        now=SECONDS,
        points=rows_of(
            shape(
                "at records_per_second dead_letters lag",
                at=SECONDS,
                records_per_second={
                    **or_null(NUMBER),
                    "description": "Records that the worker read; without one, offsets written.",
                },
                dead_letters={**or_null(COUNT), "description": "Dead letters since the point before."},
                lag={**or_null(COUNT), "description": "null if it is not known."},
            )
        ),
    ),
    "Gaps": shape(
        "gaps offsets latest",
        gaps=COUNT,
        offsets={**TEXT, "description": "The number of all their offsets."},
        latest=rows_of(
            shape(
                "consumer_group topic partition first_offset last_offset offsets noticed_at reason",
                consumer_group=TEXT,
                topic=TEXT,
                partition=COUNT,
                first_offset=TEXT,
                last_offset=TEXT,
                offsets=TEXT,
                noticed_at=MEASURED_AT,
                reason=TEXT,
            )
        ),
    ),
    "Event": shape(
        "state event_id searched",
        state={"enum": ["in_topic", "current", "superseded", "in_history", "dead_letter", "not_found"]},
        event_id=ID,
        pattern_id=or_null(ID),
        measurement_timestamp=or_null(TEXT),
        noted_at={**or_null(TEXT), "description": "When its row was written, or its record was refused."},
        published_at={**or_null(TEXT), "description": "The timestamp of its record."},
        topic=or_null(TEXT),
        partition=or_null(COUNT),
        offset=or_null(COUNT),
        superseded_by=or_null(ID),
        superseding_timestamp=or_null(TEXT),
        reason=or_null(TEXT),
        detail=or_null(TEXT),
        searched=rows_of(TEXT, "The places that were searched, if the event was not found."),
    ),
    "DeadLetterPage": shape(
        "rows next percent_read",
        rows=rows_of(
            shape(
                "topic partition offset record_timestamp reason detail noticed_at bytes",
                topic=TEXT,
                partition=COUNT,
                offset=TEXT,
                record_timestamp=TEXT,
                reason=TEXT,
                detail=TEXT,
                noticed_at=MEASURED_AT,
                bytes={**or_null(COUNT), "description": "The size of the value."},
            )
        ),
        next=NEXT,
        percent_read=PERCENT,
    ),
    "DeadLetterSummary": shape(
        "reasons groups percent_read",
        reasons=rows_of(shape("reason letters oldest", reason=TEXT, letters=COUNT, oldest=SECONDS)),
        groups=rows_of(
            shape(
                "reason detail letters oldest newest letter",
                reason=TEXT,
                detail=TEXT,
                letters=COUNT,
                oldest=SECONDS,
                newest=SECONDS,
                letter={
                    **or_null(
                        shape(
                            "topic partition offset record_timestamp",
                            topic=TEXT,
                            partition=COUNT,
                            offset=TEXT,
                            record_timestamp=TEXT,
                        )
                    ),
                    "description": "The only letter of the group; null if it has several.",
                },
            ),
            "The open dead letters that have reason and detail in common; the 100 largest groups.",
        ),
        percent_read=PERCENT,
    ),
    "DeadLetter": shape(
        "topic partition offset record_timestamp reason explanation detail status key value headers advice",
        topic=TEXT,
        partition=TEXT,
        offset=TEXT,
        record_timestamp={**TEXT, "description": "Milliseconds since the epoch; -1 for none."},
        reason=TEXT,
        explanation=TEXT,
        detail=TEXT,
        noticed_at=MEASURED_AT,
        status={"enum": ["open", "redriven", "discarded"]},
        resolved_at=or_null(TEXT),
        resolution=or_null(TEXT),
        key=or_null(TEXT),
        key_hex={**TEXT, "description": "The key, if it is no text."},
        key_bytes=or_null(COUNT),
        value=or_null(TEXT),
        value_hex={**TEXT, "description": "The value, if it is no text."},
        value_bytes=or_null(COUNT),
        bytes_shown_max=COUNT,
        headers=rows_of(shape("key", key=TEXT, value=or_null(TEXT), value_hex=TEXT)),
        advice=rows_of(TEXT, "The commands that mend it."),
    ),
}
