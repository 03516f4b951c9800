"""The work of an agent on this system: it scores, publishes, and empties its outbox.

It needs nothing but `pip install pattern-metrics`. If KAFKA_BOOTSTRAP_SERVERS is set, the outbox is emptied
into that broker's KAFKA_TOPIC; if it is not, into a file.

    python tests/platforms/agents.py [--without-linux]
"""

import asyncio
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pattern_metrics import BlockingScorePublisher, ScorePublisher

SCORED: Final = 2
PROCESSES: Final = 2
EVENTS: Final = 20
SECONDS_MAX: Final = 240

CODE: Final = 'def \u00fcber(a: int) -> int:\n    """Return it."""\n    return a\n\n\nclass Price: ...\n'
NO_BROKER: Final = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


class Agent:
    """An agent that works in a directory.

    Args:
        directory: a new directory.
        program: the beginning of each command line of `pattern-metrics`.
        library: the beginning of the command line of a Python program.
    """

    def __init__(self, directory: Path, program: list[str], library: list[str]) -> None:
        self._directory = directory
        self._program = program
        self._library = library
        self._outbox = {"OUTBOX_PATH": str(directory / "outbox" / "events.db")}

    def run(
        self, *arguments: str, stdin: bytes = b"", code: int = 0, broker: Mapping[str, str] = NO_BROKER
    ) -> bytes:
        """Run a command and return its output. Any other exit code than the one given is an error."""
        ended = subprocess.run(
            [*self._program, *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self._directory,
            env={**os.environ, **self._outbox, **broker},
            timeout=SECONDS_MAX,
        )
        _require(ended.returncode == code and b"Traceback" not in ended.stderr, ended)
        return ended.stdout

    def fill(self) -> int:
        """Store events in the outbox in each way, without a broker. Return their number."""
        (self._directory / "code.py").write_text(CODE, encoding="utf-8")
        scored = self.run("score", "--project", "agents", "code.py")
        names = [json.loads(line)["metadata"]["name"] for line in scored.splitlines()]
        _require(names == ["agents/code:\u00fcber", "agents/code:Price"], names)
        (self._directory / "scored.jsonl").write_bytes(scored)
        self.run("publish", "scored.jsonl", "--outbox")
        self.run("publish", "-", "--outbox", stdin=scored)
        self.run("publish", "-", "--outbox", stdin=scored + b"{}\n", code=1)  # a wrong line
        children = [
            subprocess.Popen(
                [*self._library, __file__, "--child", str(number)],
                cwd=self._directory,
                env={**os.environ, **self._outbox, **NO_BROKER},
            )
            for number in range(PROCESSES)
        ]
        codes = [child.wait(SECONDS_MAX) for child in children]
        _require(not any(codes), codes)
        return 3 * SCORED + PROCESSES * EVENTS

    def look(self, count: int) -> None:
        """Check that the outbox holds that many events, with each command that reads it."""
        self.run("outbox", "status")
        status = json.loads(self.run("outbox", "status", "--json"))
        _require(status["events"] == count and status["refused"] == 0, status)
        self.run("outbox", "compact")
        for _ in range(2):  # the second one replaces the file
            self.run("outbox", "export", "events.jsonl")
        exported = (self._directory / "events.jsonl").read_bytes().splitlines()
        _require(len(exported) == count, len(exported))

    def need(self) -> None:
        """Run what needs no outbox, and what this installation cannot do or reach."""
        json.loads(self.run("schema"))
        self.run("publish", "scored.jsonl", code=1)
        self.run("outbox", "flush", code=1)

    def deliver(self, count: int, broker: Mapping[str, str]) -> None:
        """Deliver the events to a broker, and publish to it directly."""
        flushed = json.loads(self.run("outbox", "flush", "--json", broker=broker))
        _require(flushed == {"delivered": count, "refused": 0, "left": 0}, flushed)
        self.run("publish", "scored.jsonl", broker=broker)


async def _publish(number: int) -> None:
    """Publish events to the outbox with each of the library's two clients."""
    async with ScorePublisher() as publisher:
        for one in range(EVENTS - 1):
            await publisher.publish_score(pattern=f"agents:{number}-{one}", quality_score=0.5, confidence=1.0)
    await asyncio.to_thread(_publish_blocking, number)


def _publish_blocking(number: int) -> None:
    with BlockingScorePublisher() as publisher:
        publisher.publish_score(pattern=f"agents:{number}", quality_score=0.5, confidence=1.0)


def _require(holds: bool, found: object) -> None:
    if not holds:
        raise AssertionError(found)


def main() -> None:
    """Work as an agent does, and print one line about this system."""
    if "--child" in sys.argv:
        logging.disable()  # that no broker answers is not news
        asyncio.run(_publish(int(sys.argv[-1])))
        return
    python = [sys.executable, "-X", "warn_default_encoding"]
    library = python
    program = [*python, "-m", "pattern_metrics"]
    if "--without-linux" in sys.argv:
        os.environ["PYTHONIOENCODING"] = "cp1252"  # as a pipe has it on Windows
        library = program = [*python, str(Path(__file__).with_name("without_linux.py"))]
    broker: dict[str, Any] = {name: os.environ[name] for name in NO_BROKER if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="\u65e5\u672c ") as directory:
        agent = Agent(Path(directory), program, library)
        count = agent.fill()
        agent.look(count)
        agent.need()
        if broker:
            agent.deliver(count, broker)
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    print(f"{where}: {count} events stored and {'delivered' if broker else 'exported'}")  # noqa: T201


if __name__ == "__main__":
    main()
