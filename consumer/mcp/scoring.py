"""Scores code in a process of its own: each line of its input is a call, each line of its output an answer.

Nothing but the end of its process interrupts Python's parser. Some texts take it minutes, and some end it.
"""

import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pattern_metrics.consumer.mcp.answers import CodeScore, CodeScores, Explanation, weakest
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

FILE_BYTES_MAX: Final = 1024 * 1024
"""Largest file that is scored."""

FILES_MAX: Final = 500
"""Most files of one call."""

NOTES_MAX: Final = 5
NAMES_OFFERED_MAX: Final = 10

_SUFFIX: Final = ".py"
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Without waiting for a pipe's other end."""

_NOT_BELOW_ROOT: Final = "path: there is no such file or directory below the root"


class NotScoredError(Exception):
    """The call has no answer. The text says why, for the client."""


@dataclass(slots=True)
class _Scored:
    """The definitions of a call.

    Attributes:
        definitions: each with its file, empty for source text.
        notes: why files were left out.
    """

    definitions: list[tuple[ScoredDefinition, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, content: bytes | str, module: str, file: str) -> None:
        """Score a file; if it cannot be parsed, note why."""
        try:
            scored = score_module(content, module)
        except UNREADABLE as error:
            self.notes.append(f"{file or 'source'}: {reason_of(error)}")
        else:
            self.definitions += [(one, file) for one in scored]

    @property
    def shown_notes(self) -> list[str]:
        """The first notes, and how many files more were left out."""
        more = len(self.notes) - NOTES_MAX
        return [*self.notes[:NOTES_MAX], *([f"{more} more files were left out"] if more > 0 else [])]


class CodeScoring:
    """The answers of the tools `score_code` and `explain_score`.

    Args:
        root: the directory below which files may be read; None for none.

    Raises:
        NotScoredError: raised by each method.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()

    def score_code(self, path: str, source: str, limit: int) -> CodeScores:
        """Return the worst definitions."""
        scored = self._score(path, source)
        worst = sorted(scored.definitions, key=lambda one: one[0].score)
        return {
            "definitions": [_code_score(one, file) for one, file in worst[:limit]],
            "left_off": max(0, len(worst) - limit),
            "notes": scored.shown_notes,
        }

    def explain_score(self, name: str, path: str, source: str) -> Explanation:
        """Return the facts and the best changes of one definition."""
        scored = self._score(path, source)
        found = [one for one, _ in scored.definitions if name in {_name(one), one.name.rpartition(":")[2]}]
        if len(found) != 1:
            what = "several definitions have" if found else "no definition has"
            offered = found or [each for each, _ in scored.definitions]
            names = ", ".join(map(_name, offered[:NAMES_OFFERED_MAX])) or "none"
            raise NotScoredError("; ".join([f"{what} this name; there are: {names}", *scored.shown_notes]))
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

    def _score(self, path: str, source: str) -> _Scored:
        scored = _Scored()
        if bool(path) == bool(source):
            raise NotScoredError("give either path or source")
        if source:
            scored.add(source, "", "")
            return scored
        for number, file in enumerate(self._files(self._below_root(path), scored)):
            if number == FILES_MAX:
                scored.notes.insert(
                    0, f"only the first {FILES_MAX} files were scored: give a smaller directory"
                )
                break
            try:
                content = self._read(file.path)
            except OSError as error:
                scored.notes.append(f"{file.location}: {reason_of(error)}")
                continue
            if len(content) > FILE_BYTES_MAX:
                scored.notes.append(f"{file.location}: is larger than {FILE_BYTES_MAX} bytes")
            else:
                scored.add(content, file.module, file.location)
        return scored

    def _read(self, path: Path) -> bytes:
        """Return the beginning of a file, of which it is known only now that it lies below the root.

        Raises:
            OSError: it is not a regular file, or somebody has put a link in its place.
        """
        with open(os.open(path, _OPEN_FLAGS), "rb") as file:  # noqa: PTH123 - by its descriptor
            opened, real = os.fstat(file.fileno()), path.resolve()
            is_below = self._root is not None and real.is_relative_to(self._root)
            if not (is_below and stat.S_ISREG(opened.st_mode) and os.path.samestat(opened, real.stat())):
                raise OSError(errno.EPERM, "lies outside of the root")
            return file.read(FILE_BYTES_MAX + 1)

    def _below_root(self, path: str) -> Path:
        """Return the real path of a file or directory below the root.

        Raises:
            NotScoredError: it is elsewhere, also if a link leads there; or there is none.
        """
        if self._root is None:
            raise NotScoredError("this server reads no files (it has no --root): give source")
        try:
            found = (self._root / path).resolve()
            is_there = found.is_relative_to(self._root) and found.exists()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
            raise NotScoredError(_NOT_BELOW_ROOT) from None
        if not is_there:
            raise NotScoredError(_NOT_BELOW_ROOT)
        if found.is_file() and found.suffix != _SUFFIX:
            raise NotScoredError(f"path: only files with the suffix {_SUFFIX} are scored")
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


def main() -> None:
    """Answer calls until the input ends. The first argument is the root, if there is one."""
    scoring = CodeScoring(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for line in sys.stdin.buffer:
        call: dict[str, Any] = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"answer": getattr(scoring, call["tool"])(**call["arguments"])}
        except NotScoredError as error:
            answer = {"refusal": str(error)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
