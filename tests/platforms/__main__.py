"""The main job on each tested version, one change at a time."""

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.table import Table

from tests.platforms.environments import LOCKED, USUAL, environment, interpreter
from tests.platforms.job import Place, do_job
from tests.platforms.servers import kafka, postgres
from tests.platforms.versions import DEPENDENCIES, KAFKA, POOLERS, POSTGRESQL, PYTHON
from tests.support.command import PROGRAM
from tests.support.pooler import PgBouncer

T = TypeVar("T")

OLDEST_POSTGRESQL, *_, NEWEST_POSTGRESQL = POSTGRESQL
OLDEST_KAFKA, *_, NEWEST_KAFKA = KAFKA

PASSWORD: Final = "no secret"  # the server trusts everybody

console = Console(width=120, highlight=False)


class NotHereError(Exception):
    """This machine lacks the version."""


@dataclass(frozen=True)
class Combination:
    """The versions of one run. By default, they are those of `make test`."""

    python: str = USUAL
    dependencies: str = LOCKED
    postgresql: str = NEWEST_POSTGRESQL
    kafka: str = NEWEST_KAFKA
    pooler: str = "none"

    def __str__(self) -> str:
        usual = asdict(Combination())
        return (
            ", ".join(f"{part} {one}" for part, one in asdict(self).items() if one != usual[part]) or "usual"
        )


SMOKE: Final = (Combination(), Combination(postgresql=OLDEST_POSTGRESQL, kafka=OLDEST_KAFKA))


def combinations() -> Iterator[Combination]:
    """Yield the usual combination, and each that differs from it in one part."""
    yield Combination()
    parts = {
        "python": PYTHON,
        "dependencies": DEPENDENCIES,
        "postgresql": POSTGRESQL,
        "kafka": KAFKA,
        "pooler": POOLERS,
    }
    for part, versions in parts.items():
        for version in versions:
            combination = Combination(**{part: version})
            if combination != Combination():
                yield combination


class Shelf:
    """Starts each server, and makes each environment, when it is first needed.

    Args:
        stack: stops the servers.
        directory: for the environments.
    """

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._kept: dict[Any, Any] = {}

    def place(self, wanted: Combination) -> Place:
        """Return programs and servers of these versions.

        Raises:
            NotHereError: this machine lacks one of them.
        """
        server = self._keep(postgres, POSTGRESQL[wanted.postgresql])
        broker = self._keep(kafka, KAFKA[wanted.kafka])
        url: Callable[[str], str] = server.dsn
        if wanted.pooler != "none":
            url = self._stack.enter_context(PgBouncer(server, PASSWORD)).url
        return Place(self._program(wanted), server, broker, url)

    def _keep(self, start: Callable[[str], AbstractContextManager[T]], version: str) -> T:
        if (start, version) not in self._kept:
            self._kept[start, version] = self._stack.enter_context(start(version))
        kept: T = self._kept[start, version]
        return kept

    def _program(self, wanted: Combination) -> Path:
        if (wanted.python, wanted.dependencies) == (USUAL, LOCKED):
            return PROGRAM
        python = interpreter(wanted.python)
        if python is None:
            raise NotHereError(f"this machine has no Python {wanted.python}")
        directory = self._directory / f"{wanted.python}-{wanted.dependencies}"
        return environment(directory, python, wanted.dependencies)


def run(chosen: list[Combination]) -> bool:
    """Do the job on each combination, and print a table. Return whether none of them failed."""
    table = Table("versions", "result", "seconds")
    has_failed = False
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        shelf = Shelf(stack, Path(name))
        for combination in chosen:
            began = time.monotonic()
            result = _result(shelf, combination, Path(name))
            has_failed |= result == "failed"
            table.add_row(str(combination), result, f"{time.monotonic() - began:.0f}")
            console.print(f"{combination}: {result}")
    console.print(table)
    return not has_failed


def _result(shelf: Shelf, combination: Combination, directory: Path) -> str:
    try:
        asyncio.run(do_job(shelf.place(combination), directory))
    except NotHereError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - the other combinations are run as well
        traceback.print_exc()
        return "failed"
    return "passed"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.platforms", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="only the oldest servers and the newest ones")
    sys.exit(not run(list(SMOKE if parser.parse_args().smoke else combinations())))
