"""The versions that are tested. `make platforms` runs them, and docs/reference/platforms.md lists them."""

from collections.abc import Mapping
from typing import Final

from tests.support.kafka import VERSION

PREVIOUS_RELEASE: Final = "adcf37207b062dd878ab5d022494656719b285d5"
"""The commit of the previous release: release 0.1.0, whose last revision is 019."""

PYTHON: Final = ("3.11", "3.12", "3.13", "3.14")

DEPENDENCIES: Final = ("lowest", "newest")
"""The versions that the ranges in pyproject.toml allow. Any other run has those of requirements.lock."""

POSTGRESQL: Final[Mapping[str, str]] = {
    "14": "14.24.0",
    "15": "15.19.0",
    "16": "16.15.0",
    "17": "17.11.0",
    "18": "18.6.0",
}

KAFKA: Final[Mapping[str, str]] = {
    "2.8": "2.8.2",
    "3.3": "3.3.2",
    "3.9": "3.9.2",
    "4.1": "4.1.2",
    "4.4": VERSION,
}

POOLERS: Final = ("PgBouncer",)
"""The system's version, in session mode and with its defaults."""

AGENTS: Final = (
    "Linux x86-64",
    "Linux arm64",
    "macOS x86-64",
    "macOS arm64",
    "Windows x86-64",
    "Windows arm64",
)
"""The systems of the job `agents` in .github/workflows/ci.yml."""
