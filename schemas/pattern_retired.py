"""The event `PatternRetired` v1, and the reading of an event of either kind."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Self, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import from_json

from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.pattern_scored import (
    EventModel,
    Measurement,
    Metadata,
    PatternScored,
    Timestamp,
    id_from,
    parse_as,
    parse_line_as,
    require_storable_text,
)

REASON_CHARACTERS_MAX: Final = 200

RETIRED_TYPE: Final = "pattern.retired.v1"


class Retirement(BaseModel):
    """A retirement before it has an `event_id`: the pattern no longer exists.

    A reader is tolerant: unknown top-level fields are ignored.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )

    pattern_id: UUID = Field(description="The pattern that is retired, as a UUID of 36 characters.")
    retired_at: Timestamp = Field(
        description="When the pattern was retired, by the rules of measurement_timestamp. Of all events of "
        "one pattern, measurements and retirements, the one with the greatest (time, event_id) decides."
    )
    reason: (
        Annotated[str, Field(max_length=REASON_CHARACTERS_MAX), AfterValidator(require_storable_text)] | None
    ) = Field(default=None, description="Why the pattern was retired, for people.")
    metadata: Metadata = Field(
        default={},
        description="Anything, by the rules of the metadata of a measurement. null counts as absent.",
    )


class PatternRetired(EventModel, Retirement):
    """The retirement of one pattern. A newer measurement of the pattern brings it back."""

    EVENT_TYPE: ClassVar[str] = RETIRED_TYPE
    TIME_FIELD: ClassVar[str] = "retired_at"

    event_id: UUID = Field(
        description="Names the retirement, as a UUID of 36 characters. A retry of one publish repeats it."
    )

    @classmethod
    def from_retirement(cls, retirement: Retirement) -> Self:
        """Derive the event's id from the retirement's content, so that publishing it twice is a retry."""
        return cls(event_id=id_from(retirement), **dict(retirement))

    @property
    def measurement_timestamp(self) -> datetime:  # type: ignore[override]  # nobody sets it
        """The event's place in the order of the pattern's events."""
        return self.retired_at


PatternEvent: TypeAlias = PatternScored | PatternRetired


def is_retirement(content: Mapping[str, JsonValue]) -> bool:
    """Return whether the fields are those of a retirement: `retired_at`, and no `quality_score`.

    A field that is null counts as absent, because some clients write each field that they know.
    """
    return content.get("retired_at") is not None and content.get("quality_score") is None


def parse_either(value: bytes, *, accepted_until: datetime, is_line: bool = False) -> PatternEvent:
    """Read one event of either kind from its JSON.

    Args:
        value: the event in UTF-8.
        accepted_until: the latest acceptable time.
        is_line: whether the value is a line of a file, in which `event_id` is optional.

    Raises:
        InvalidEventError: see `parse_as`.
    """
    try:
        if is_line:
            return parse_line_as(PatternScored, Measurement, value, accepted_until=accepted_until)
        return parse_as(PatternScored, value, accepted_until=accepted_until)
    except InvalidEventError:
        if not _holds_retirement(value):
            raise
    if is_line:
        return parse_line_as(PatternRetired, Retirement, value, accepted_until=accepted_until)
    return parse_as(PatternRetired, value, accepted_until=accepted_until)


def _holds_retirement(value: bytes) -> bool:
    try:
        content = from_json(value)
    except ValueError:
        return False
    return isinstance(content, dict) and is_retirement(content)
