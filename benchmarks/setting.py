"""Describes the machine and the versions, without anything that names a machine or a person."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.connect import TUNED
from benchmarks.peers import CONNECT_VERSION, DEBEZIUM_VERSION, QUIX_VERSION
from benchmarks.scenarios import Size
from benchmarks.services import KAFKA_SETTINGS, Services, connected
from benchmarks.topics import COMPRESSION

_POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "data_checksums",
)


async def describe(services: Services, size: Size) -> dict[str, Any]:
    """Return machine, versions and configuration."""
    async with connected(services.postgres.dsn()) as connection:
        return {
            "measured": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "versions": {
                "pattern-metrics": version("pattern-metrics"),
                "Python": platform.python_version(),
                "PostgreSQL": await connection.fetchval("SHOW server_version"),
                "Apache Kafka": "4.4.0",
                "Java": _java(),
                "Quix Streams": QUIX_VERSION,
                "Kafka Connect": CONNECT_VERSION,
                "Debezium JDBC sink": DEBEZIUM_VERSION,
            },
            "configuration": {
                "events": size.events,
                "compression": COMPRESSION,
                "postgresql": await _shown(connection),
                "kafka": dict(KAFKA_SETTINGS),
                "debezium": dict(TUNED),
            },
        }


def machine() -> dict[str, Any]:
    """Return the processor, the number of its cores, the memory and the system."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gigabytes": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


async def _shown(connection: asyncpg.Connection) -> dict[str, str]:
    return {name: await connection.fetchval(f"SHOW {name}") for name in _POSTGRES_SETTINGS}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        return "none"
    command = [java, "-version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    return shown.stderr.partition('"')[2].partition('"')[0]
