"""The tools `score_code` and `explain_score`. They read files below one directory, and run nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from pattern_metrics.consumer.mcp.answers import CodeScore, CodeScores, Explanation
from pattern_metrics.consumer.mcp.patterns import ROWS_DEFAULT_FOR_MODELS, Rows, Text, weakest
from pattern_metrics.consumer.mcp.text import defused_text
from pattern_metrics.publisher.scoring.advice import best_changes, explain
from pattern_metrics.publisher.scoring.scorer import (
    UNREADABLE,
    WEIGHTS,
    ScoredDefinition,
    reason_of,
    score_module,
)
from pattern_metrics.publisher.scoring.sources import Source, find_sources
from pattern_metrics.schemas.bands import band_of

SOURCE_CHARACTERS_MAX: Final = 200_000

FILE_BYTES_MAX: Final = 1024 * 1024
"""Largest file that is scored."""

FILES_MAX: Final = 500
"""Most files of one call."""

NOTES_MAX: Final = 5
NAMES_OFFERED_MAX: Final = 10

_SUFFIX: Final = ".py"
_NOT_BELOW_ROOT: Final = "path: there is no such file or directory below the root"

Code = Annotated[str, Field(max_length=SOURCE_CHARACTERS_MAX)]


@dataclass(slots=True)
class _Scored:
    """The definitions of a call.

    Attributes:
        definitions: each with its file, empty for source text.
        notes: why files were left out.
    """

    definitions: list[tuple[ScoredDefinition, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, content: bytes, module: str, file: str) -> None:
        """Score a file; if it cannot be parsed, note why."""
        try:
            scored = score_module(content, module)
        except UNREADABLE as error:
            self.notes.append(f"{file or 'source'}: {reason_of(error)}")
        else:
            self.definitions += [(one, file) for one in scored]


class CodeTools:
    """Scores code for a language model, one call at a time.

    Args:
        root: the directory below which files may be read; None for none.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()
        self._scoring = asyncio.Lock()

    async def score_code(
        self, path: Text = "", source: Code = "", limit: Rows = ROWS_DEFAULT_FOR_MODELS
    ) -> CodeScores:
        """Score Python code without running it: worst functions and classes first. Publishes nothing.

        Give path (file or directory below the server's root) or source (text).
        """
        scored = await self._scored(path, source)
        worst = sorted(scored.definitions, key=lambda one: one[0].score)
        notes = scored.notes[:NOTES_MAX]
        if len(scored.notes) > NOTES_MAX:
            notes.append(f"{len(scored.notes) - NOTES_MAX} more files were left out")
        return {
            "definitions": [_code_score(one, file) for one, file in worst[:limit]],
            "left_off": max(0, len(worst) - limit),
            "notes": notes,
        }

    async def explain_score(self, name: Text, path: Text = "", source: Code = "") -> Explanation:
        """Explain the score of one function or class: the facts behind each dimension, the 3 best changes.

        name: as score_code lists it. Give path or source as for score_code.
        """
        scored = (await self._scored(path, source)).definitions
        found = [one for one, _ in scored if name in {_name(one), one.name.rpartition(":")[2]}]
        if len(found) != 1:
            what = "several definitions have" if found else "no definition has"
            names = ", ".join(
                _name(one) for one in (found or [each for each, _ in scored])[:NAMES_OFFERED_MAX]
            )
            raise ToolError(f"{what} this name; there are: {names or 'none'}")
        [one] = found
        facts = explain(one.definition.facts)
        return {
            "name": _name(one),
            "line": one.definition.line,
            "end_line": one.definition.end_line,
            "score": one.score,
            "band": band_of(one.score),
            "dimensions": [
                {"dimension": each, "score": score, "weight": WEIGHTS[each], "facts": facts[each]}
                for each, score in one.dimensions.items()
            ],
            "changes": [
                {"change": change.text, "dimension": change.dimension, "gain": change.gain}
                for change in best_changes(one.definition.facts)
            ],
        }

    async def _scored(self, path: str, source: str) -> _Scored:
        if bool(path) == bool(source):
            raise ToolError("give either path or source")
        async with self._scoring:
            return await asyncio.to_thread(self._score, path, source)

    def _score(self, path: str, source: str) -> _Scored:
        scored = _Scored()
        if source:
            scored.add(source.encode(), "", "")
            return scored
        for number, file in enumerate(self._files(self._below_root(path), scored)):
            if number == FILES_MAX:
                scored.notes.insert(
                    0, f"only the first {FILES_MAX} files were scored: give a smaller directory"
                )
                break
            try:
                with file.path.open("rb") as opened:
                    content = opened.read(FILE_BYTES_MAX + 1)
            except OSError as error:
                scored.notes.append(f"{file.location}: {reason_of(error)}")
                continue
            if len(content) > FILE_BYTES_MAX:
                scored.notes.append(f"{file.location}: is larger than {FILE_BYTES_MAX} bytes")
            else:
                scored.add(content, file.module, file.location)
        return scored

    def _below_root(self, path: str) -> Path:
        """Return the real path of a file or directory below the root.

        Raises:
            ToolError: it is elsewhere, also if a link leads there; or there is none.
        """
        if self._root is None:
            raise ToolError("this server reads no files (it has no --root): give source")
        try:
            found = (self._root / path).resolve()
            is_there = found.is_relative_to(self._root) and found.exists()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
            raise ToolError(_NOT_BELOW_ROOT) from None
        if not is_there:
            raise ToolError(_NOT_BELOW_ROOT)
        if found.is_file() and found.suffix != _SUFFIX:
            raise ToolError(f"path: only files with the suffix {_SUFFIX} are scored")
        return found

    def _files(self, path: Path, scored: _Scored) -> Iterator[Source]:
        found = find_sources([path], root=self._root)
        for unreadable in found.unreadable:
            place = unreadable.path.relative_to(self._root or "/").as_posix()
            scored.notes.append(f"{place}: {unreadable.reason}")
        yield from found.sources


def _name(one: ScoredDefinition) -> str:
    return one.name.removeprefix(":")  # source text has no module


def _code_score(one: ScoredDefinition, file: str) -> CodeScore:
    return {
        "name": defused_text(_name(one)),
        "file": file,
        "line": one.definition.line,
        "end_line": one.definition.end_line,
        "score": one.score,
        "band": band_of(one.score),
        "weakest": weakest(one.dimensions) or "",
    }
