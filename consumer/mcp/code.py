"""The tools `score_code` and `explain_score`. They read files below one directory, and run nothing."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Self

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from pattern_metrics.consumer.mcp.answers import CodeScores, Explanation
from pattern_metrics.consumer.mcp.patterns import ROWS_DEFAULT_FOR_MODELS, Rows, Text

SOURCE_CHARACTERS_MAX: Final = 200_000

SCORING_SECONDS_MAX: Final = 30.0
"""Longest time of one call. Models' clients wait for 60 s."""

_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_SCORING: Final = ("-P", "-m", "pattern_metrics.consumer.mcp.scoring")

Code = Annotated[str, Field(max_length=SOURCE_CHARACTERS_MAX)]


class CodeTools:
    """Scores code for a language model, one call at a time; an asynchronous context manager.

    A process of its own scores. It is ended if it takes too long, and the next call starts another one.

    Args:
        root: the directory below which files may be read; None for none.
    """

    def __init__(self, root: Path | None) -> None:
        self._command: list[str | Path] = [sys.executable, *_SCORING, *([] if root is None else [root])]
        self._scoring = asyncio.Lock()
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def score_code(
        self, path: Text = "", source: Code = "", limit: Rows = ROWS_DEFAULT_FOR_MODELS
    ) -> CodeScores:
        """Score Python code without running it: worst functions and classes first. Publishes nothing.

        Give path (file or directory below the server's root) or source (text).
        """
        scores: CodeScores = await self._call("score_code", path=path, source=source, limit=limit)
        return scores

    async def explain_score(self, name: Text, path: Text = "", source: Code = "") -> Explanation:
        """Explain the score of one function or class: the facts behind each dimension, the 3 best changes.

        name: as score_code lists it. Give path or source as for score_code.
        """
        explanation: Explanation = await self._call("explain_score", name=name, path=path, source=source)
        return explanation

    async def _call(self, tool: str, **arguments: object) -> Any:  # noqa: ANN401 - the answer of the tool
        call = json.dumps({"tool": tool, "arguments": arguments}).encode() + b"\n"
        async with self._scoring:
            try:
                async with asyncio.timeout(SCORING_SECONDS_MAX):
                    line = await self._ask(call)
            except TimeoutError:
                await self._end()
                limit = f"scoring took longer than {SCORING_SECONDS_MAX:g} s"
                raise ToolError(f"{limit}: give less code, or a smaller directory") from None
            except BaseException:
                await self._end()
                raise
            if not line:
                await self._end()
                raise ToolError("this code ends Python's parser, so it cannot be scored")
        answer = json.loads(line)
        if "refusal" in answer:
            raise ToolError(answer["refusal"])
        return answer["answer"]

    async def _ask(self, call: bytes) -> bytes:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=_ANSWER_BYTES_MAX, start_new_session=True
            )
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        with suppress(ConnectionError):  # it has ended, which the answer shows
            self._process.stdin.write(call)
            await self._process.stdin.drain()
        return await self._process.stdout.readline()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
