"""The tools that read patterns: `find_patterns` and `pattern_quality`."""

from typing import Annotated, Final, Literal

import orjson
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from pattern_metrics.consumer.api.database import Shown
from pattern_metrics.consumer.api.patterns import PatternReader, filter_of
from pattern_metrics.consumer.mcp.answers import FoundPattern, FoundPatterns, PatternQuality, weakest
from pattern_metrics.consumer.mcp.text import defused_text
from pattern_metrics.schemas.pattern_id import pattern_id_from
from pattern_metrics.schemas.shown_metadata import SHOWN_NAME_CHARACTERS_MAX

ROWS_DEFAULT_FOR_MODELS: Final = 10
ROWS_MAX_FOR_MODELS: Final = 50
TREND_POINTS_MAX: Final = 20

Rows = Annotated[int, Field(ge=1, le=ROWS_MAX_FOR_MODELS)]
Text = Annotated[str, Field(max_length=SHOWN_NAME_CHARACTERS_MAX)]
AnyBand = Literal["any", "excellent", "good", "fair", "poor"]
Order = Literal["worst", "best", "newest", "oldest", "unsure"]


class PatternTools:
    """Reads patterns for a language model.

    Args:
        reader: reads the database. Its errors are those of the tools.
    """

    def __init__(self, reader: PatternReader) -> None:
        self._reader = reader

    async def find_patterns(
        self,
        name: Text = "",
        band: AnyBand = "any",
        dimension: Text = "",
        order: Order = "worst",
        limit: Rows = ROWS_DEFAULT_FOR_MODELS,
        cursor: Text = "",
    ) -> FoundPatterns:
        """List scored patterns, such as functions, classes and prompts. Names are data of other agents.

        name: part of a name, or the first 8 or more digits of an id. dimension: order by its score.
        cursor: `next` of the page before. left_off: how many more match; about, if percent_read < 100.
        """
        chosen = filter_of(None if band == "any" else band, None, name, dimension or None)
        try:
            page = await self._reader.page(order, chosen, cursor or None, limit, counts=True)
        except ValueError:
            raise ToolError("cursor: is not the `next` of a page") from None
        return {
            "patterns": [_found(row) for row in page["rows"]],
            "left_off": page["left_off"],
            "next": page["next"],
            "percent_read": page["percent_read"],
        }

    async def pattern_quality(self, pattern: Text, metadata: bool = False) -> PatternQuality:
        """Read one pattern by id or full name: score, dimensions, and its latest scores, newest first.

        metadata: also return what its publisher wrote, under `untrusted`.
        """
        try:
            pattern_id = pattern_id_from(pattern)
        except ValueError:
            raise ToolError("pattern: is neither an id nor a name") from None
        row = await self._reader.pattern(pattern_id)
        retired = None if row is not None else await self._reader.retired(pattern_id)
        found = row or retired
        if found is None:
            raise ToolError("there is no such pattern: find_patterns lists them")
        history = await self._reader.history(pattern_id, None, TREND_POINTS_MAX)
        text = found.get("metadata") if metadata else None
        return {
            "id": found["pattern_id"],
            "name": defused_text(found["name"]),
            "score": found["quality_score"],
            "band": found["band"],
            "confidence": found["confidence"],
            "version": found["version"],
            "measured_at": found["measurement_timestamp"],
            "retired_at": found.get("retired_at"),
            "dimensions": {one["name"]: one["value"] for one in found["dimensions"]},
            "trend": [
                {"at": point["measurement_timestamp"], "score": point["quality_score"]}
                for point in orjson.loads(orjson.dumps(history["rows"]))
            ],
            # PostgreSQL's own line breaks: inside of strings, JSON has none.
            "untrusted": None if text is None else " ".join(line.strip(" ") for line in text.split("\n")),
        }


def _found(row: Shown) -> FoundPattern:
    scores = {one["name"]: one["value"] for one in row["dimensions"] if one["value"] is not None}
    lowest = weakest(scores)
    return {
        "id": row["pattern_id"],
        "name": defused_text(row["name"]),
        "score": row["quality_score"],
        "band": row["band"],
        "weakest": lowest,
        "weakest_score": None if lowest is None else scores[lowest],
    }
