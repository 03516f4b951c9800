"""One event as the serializers of several languages write it."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, Final, TypeAlias

from pattern_metrics.schemas.pattern_scored import PatternScored

Fields: TypeAlias = Mapping[str, Any]
"""The fields of an event; `measurement_timestamp` is a `datetime`, the rest is as in JSON."""

Spell: TypeAlias = Callable[[Fields, Random], bytes]
"""Writes an event; draws what a serializer adds, such as digits of a nanosecond."""

_SUMMER_TIME: Final = timezone(timedelta(hours=2))


def _seconds(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="seconds")


def _compact(fields: Fields, time: str, **others: Any) -> bytes:  # noqa: ANN401 - JSON
    content = {**fields, "measurement_timestamp": time, **others}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def python(fields: Fields, _: Random) -> bytes:
    """Write as `json.dumps` does, with `datetime.isoformat`."""
    return json.dumps(
        {**fields, "measurement_timestamp": fields["measurement_timestamp"].isoformat()}
    ).encode()


def go(fields: Fields, dice: Random) -> bytes:
    """Write as `encoding/json` does, with `time.RFC3339Nano`."""
    time = fields["measurement_timestamp"]
    fraction = f"{time.microsecond:06}{dice.randrange(1000):03}".rstrip("0")
    return _compact(fields, f"{_seconds(time)}{'.' if fraction else ''}{fraction}Z")


def java(fields: Fields, dice: Random) -> bytes:
    """Write as Jackson does, with an `Instant` of nanoseconds, and a field of its own."""
    time = fields["measurement_timestamp"]
    text = f"{_seconds(time)}.{time.microsecond:06}{dice.randrange(1000):03}Z"
    return _compact(fields, text, scorerHost="agent-7.example")


def dotnet(fields: Fields, dice: Random) -> bytes:
    """Write as System.Text.Json does, with a `DateTimeOffset` of seven digits in summer time."""
    time = fields["measurement_timestamp"].astimezone(_SUMMER_TIME)
    return _compact(fields, f"{_seconds(time)}.{time.microsecond:06}{dice.randrange(10)}+02:00")


def javascript(fields: Fields, _: Random) -> bytes:
    """Write as `JSON.stringify` does, with `toISOString`, a time in milliseconds and text beyond ASCII."""
    time = fields["measurement_timestamp"]
    at = int(time.astimezone(UTC).timestamp() * 1000)
    metadata = {**fields["metadata"], "scoredAt": at, "author": "Zoë 李"}
    return _compact(fields, f"{_seconds(time)}.{time.microsecond // 1000:03}Z", metadata=metadata)


SPELLINGS: Final[dict[str, Spell]] = {
    "python": python,
    "go": go,
    "java": java,
    "dotnet": dotnet,
    "javascript": javascript,
}
"""Beside the spelling of our own publisher, `PatternScored.to_json`."""


MIXED: Final = "mixed"
"""Each event in one of all spellings, drawn with equal odds: a topic that many agents share."""


def speller(spelling: str) -> Callable[[PatternScored], bytes]:
    """Return what writes events in a spelling: own with four digits, the others with raw doubles."""
    dice = Random(spelling)  # noqa: S311 - the same from run to run
    if spelling == MIXED:
        spellers = [speller(one) for one in ("own", *SPELLINGS)]

        def mixed(event: PatternScored) -> bytes:
            return dice.choice(spellers)(event)

        return mixed
    if spelling not in SPELLINGS:
        return PatternScored.to_json
    spell = SPELLINGS[spelling]

    def spelled(event: PatternScored) -> bytes:
        dimensions = event.metadata.get("dimensions", {})
        raw = dict.fromkeys(dimensions) if isinstance(dimensions, dict) else {}
        fields = event.model_dump(mode="json") | {
            "measurement_timestamp": event.measurement_timestamp,
            "quality_score": dice.random(),
            "confidence": dice.random(),
            "metadata": event.metadata | {"dimensions": {name: dice.random() for name in raw}},
        }
        return spell(fields, dice)

    return spelled
