"""The vectors of `schemas/vectors.jsonl`, for tests of everything that judges an event."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pattern_metrics.schemas

FILE = Path(pattern_metrics.schemas.__file__).parent / "vectors.jsonl"


@dataclass(frozen=True)
class Vector:
    """A value of a record, with its verdict; docs/reference/event.md explains the fields."""

    name: str
    value: bytes | None
    verdict: Literal["accepted", "refused"]
    reason: str | None
    schema: Literal["accepts", "refuses"] | None
    line: Literal["accepted", "refused"]
    row: dict[str, Any] | None

    @property
    def is_a_line(self) -> bool:
        """True if the value can be a line of a file."""
        return self.value is not None and self.value.strip() == self.value != b"" and b"\n" not in self.value


@cache
def vectors() -> list[Vector]:
    """Return the vectors in the order of their lines."""
    return [_vector(json.loads(line)) for line in FILE.read_text(encoding="utf-8").splitlines()]


def _vector(line: dict[str, Any]) -> Vector:
    encoded, text = line.get("value_base64"), line.get("value")
    value = base64.b64decode(encoded) if encoded else None if text is None else text.encode()
    return Vector(
        line["name"],
        value,
        line["verdict"],
        line.get("reason"),
        line["schema"],
        line.get("line", line["verdict"]),
        line.get("row"),
    )
