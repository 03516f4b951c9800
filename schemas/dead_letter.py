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
        """One sentence for the person who has to fix the record."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    RejectReason.TOMBSTONE: "The record has no value; a pattern's row is never deleted by key.",
    RejectReason.INVALID_UTF8: "The value is not UTF-8.",
    RejectReason.INVALID_JSON: "The value is not JSON (RFC 8259).",
    RejectReason.NOT_AN_OBJECT: "The value is JSON, but not an object.",
    RejectReason.MISSING_FIELD: "A required field is missing.",
    RejectReason.INVALID_FIELD: "A field has the wrong type or form.",
    RejectReason.OUT_OF_RANGE: "A number or a time lies outside what its field, or PostgreSQL, can hold.",
    RejectReason.TIMESTAMP_IN_FUTURE: "The measurement lies in the future by more than "
    "MAX_CLOCK_SKEW_SECONDS; mend the agent's clock.",
    RejectReason.UNSTORABLE_TEXT: "A string holds U+0000 or a lone surrogate, which PostgreSQL cannot store.",
    RejectReason.TOO_DEEP: "The JSON is nested too deeply.",
    RejectReason.TOO_LARGE: "The metadata is larger than 64 KiB as JSON.",
    RejectReason.OTHER_TYPE: "The CloudEvents type, in ce_type or in the envelope, is another than "
    "pattern.scored.v1; such events belong to another topic.",
    RejectReason.REFUSED_BY_DATABASE: "PostgreSQL refused the row: a constraint or a trigger.",
}


class InvalidEventError(ValueError):
    """A value is no valid event.

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
