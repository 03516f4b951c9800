"""The page of the versions and systems that are tested, from the list that `make platforms` runs."""

from collections.abc import Iterable
from typing import Final

from tests.platforms.versions import AGENTS, KAFKA, POSTGRESQL, PYTHON
from tests.reference.text import page, paragraphs

_INTRODUCTION: Final = """
`make platforms` runs the main job on each version below: it changes one of them at a time, and keeps the
versions of `make test` otherwise. The job migrates a database of the previous release, publishes, consumes,
replays, verifies, restores an earlier copy of the database under the same group, lets the worker catch up,
and verifies again. `make platforms SMOKE=1` runs the oldest servers and the newest ones. CI does that on each
change, and the rest every night. A version that the machine lacks is reported and left out.
"""
_PYTHON: Final = """
{versions}. `make test` runs on 3.11. Python 3.14 is run where the machine has it.
"""
_DEPENDENCIES: Final = """
The versions of `requirements.lock`, and the lowest and the newest ones that the ranges in `pyproject.toml`
allow.
"""
_POSTGRESQL: Final = "{versions}."
_POOLER: Final = """
PgBouncer with `pool_mode=session` and its defaults otherwise. A pooler in transaction mode is not supported:
a command fails, and `consume --check` and the worker report the mode as the reason.
"""
_KAFKA: Final = "{versions}. Release 2.8 runs with ZooKeeper."
_AGENTS: Final = """
The publisher, the outbox, the scorer and their commands (`pip install pattern-metrics`) need nothing that
only Linux has. A test of `make test` takes such names away (`fcntl`, `fork`, signals, `/proc`), locks as
Windows does, and runs them against a broker. The job `agents` of CI is for {systems}; until now it has run
on none of them, so that only Linux x86-64 is proven, by the test. The worker and its commands run on Linux.
No test runs them elsewhere.
"""


def platforms_page() -> str:
    """Return the tested versions of each part."""
    blocks = [
        *paragraphs(_INTRODUCTION),
        "## Python",
        *paragraphs(_PYTHON.format(versions=_listed(PYTHON))),
        "## Dependencies",
        *paragraphs(_DEPENDENCIES),
        "## PostgreSQL",
        *paragraphs(_POSTGRESQL.format(versions=_listed(POSTGRESQL.values()))),
        *paragraphs(_POOLER),
        "## Apache Kafka",
        *paragraphs(_KAFKA.format(versions=_listed(KAFKA.values()))),
        "## Agents",
        *paragraphs(_AGENTS.format(systems=_listed(AGENTS))),
    ]
    return page("Platforms", "tests/platforms/versions.py", blocks)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"
