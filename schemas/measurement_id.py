"""The id of a measurement that has none: it follows from the content."""

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uuid import UUID

_EVENT_NAMESPACE: Final = "8f1d3c9e-5a0b-5f43-9c57-2f6f1f0e6a11"


def derived_id(measurement: dict[str, Any]) -> "UUID":
    """Return the `event_id` of a measurement, so that publishing it twice is a retry.

    Args:
        measurement: all its fields, as JSON has them: ids in their canonical form, the time in UTC.
    """
    from uuid import UUID, uuid5

    return uuid5(UUID(_EVENT_NAMESPACE), json.dumps(measurement, sort_keys=True))
