"""The reasons for refusing a record: one closed set for everything that reads or writes events."""

from enum import StrEnum


class RejectReason(StrEnum):
    """The reasons for refusing a record. `explanation` says what to do about each."""

    TOMBSTONE = "tombstone"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    OUT_OF_RANGE = "out_of_range"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    UNSTORABLE_TEXT = "unstorable_text"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    OTHER_TYPE = "other_type"
    REFUSED_BY_DATABASE = "refused_by_database"

    @property
    def explanation(self) -> str:
        """The meaning, for a person; docs/reference/reject-reasons.md is generated from it."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    RejectReason.TOMBSTONE: "The record has no value. A tombstone has no time, so it deletes no row: to "
    "delete a pattern, publish its retirement (`pattern-metrics retire`).",
    RejectReason.INVALID_UTF8: "The value is not UTF-8.",
    RejectReason.INVALID_JSON: "The value is not JSON (RFC 8259).",
    RejectReason.NOT_AN_OBJECT: "The value is JSON, but not an object.",
    RejectReason.MISSING_FIELD: "A required field, or a field of KAFKA_ENVELOPE_FIELD, is missing or null.",
    RejectReason.INVALID_FIELD: "A field has the wrong type or form.",
    RejectReason.OUT_OF_RANGE: "A number or a time is outside the range of its field, or of PostgreSQL.",
    RejectReason.TIMESTAMP_IN_FUTURE: "The measurement is more than MAX_CLOCK_SKEW_SECONDS in the future. "
    "Correct the agent's clock. Redrive the letter when its time has come.",
    RejectReason.UNSTORABLE_TEXT: "A text holds U+0000 or a lone surrogate, which PostgreSQL cannot store.",
    RejectReason.TOO_DEEP: "The metadata is nested more than 100 levels deep, or the value more than 200.",
    RejectReason.TOO_LARGE: "The metadata is larger than 64 KiB as JSON.",
    RejectReason.OTHER_TYPE: "The CloudEvents type, in the header ce_type or in the envelope's type, is not "
    "that of the event: pattern.scored.v1 or pattern.retired.v1. Events of another type belong in another "
    "topic.",
    RejectReason.REFUSED_BY_DATABASE: "A constraint or a trigger of your database refused the row.",
}


class InvalidEventError(ValueError):
    """A value is not a valid event.

    Attributes:
        reason: the rule that the value breaks.
        detail: the exact fault, for a person. Holds field names, never the event's values.
        field: the top-level field at fault, if there is one.
    """

    def __init__(self, reason: RejectReason, detail: str, field: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field
