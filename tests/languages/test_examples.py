"""The examples in other languages publish to Apache Kafka, and the worker reads their events.

`make languages` runs them: they need Go, Java, Node and npm, and at the first run the network.
"""

import asyncio
import os
import shutil
import subprocess
import venv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer

from pattern_metrics import pattern_id_of
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.pipeline import catch_up, fetch

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
BUILT: Final = ROOT / ".cache/languages"

Command = list[str | Path]


def run(*command: str | Path, directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)


def python() -> Command:
    environment = BUILT / "python"
    if not environment.exists():
        venv.create(environment, with_pip=True)
        run(environment / "bin/pip", "install", "--quiet", "confluent-kafka==2.16.1", directory=ROOT)
    return [environment / "bin/python", EXAMPLES / "python/agent.py"]


def go() -> Command:
    program = BUILT / "go/agent"
    run("go", "mod", "tidy", directory=EXAMPLES / "go")
    run("go", "vet", ".", directory=EXAMPLES / "go")
    run("go", "build", "-o", program, ".", directory=EXAMPLES / "go")
    return [program]


def java() -> Command:
    libraries = max((ROOT / ".cache").glob("kafka-*/libs"))  # Kafka's own, with its client and Jackson
    return ["java", "-cp", f"{libraries}/*", EXAMPLES / "java/Agent.java"]


def typescript() -> Command:
    directory = BUILT / "typescript"
    shutil.copytree(EXAMPLES / "typescript", directory, dirs_exist_ok=True)
    if not (directory / "node_modules").exists():
        run("npm", "install", "--no-package-lock", "--ignore-scripts", "--silent", directory=directory)
    run("npm", "run", "--silent", "build", directory=directory)
    return ["node", directory / "agent.js"]


@pytest.mark.parametrize("language", [python, go, java, typescript])
async def test_the_worker_reads_the_event_of_an_example(
    settings: WorkerSettings, language: Callable[[], Command]
) -> None:
    command = language()
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAFKA_TOPIC": settings.kafka_topic,
    }
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    await asyncio.to_thread(subprocess.run, command, env=os.environ | variables, check=True, timeout=120)

    assert await catch_up(settings) == Accounting(applied=1)
    [row] = await fetch(settings, "SELECT * FROM pattern_quality_metrics")
    assert row["pattern_id"] == pattern_id_of("shop.cart:total")
    assert (row["quality_score"], row["confidence"], row["version"]) == (0.82, 0.9, "1.0.0")
    assert row["metadata"] == '{"name": "shop.cart:total"}'
    assert before <= row["measurement_timestamp"] <= datetime.now(UTC)
    record = await only_record(settings)
    assert record.key == str(row["pattern_id"]).encode()
    assert ("content-type", b"application/json") in record.headers


async def only_record(settings: WorkerSettings) -> Any:
    """Return the record of a topic that has one."""
    consumer = AIOKafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        return await consumer.getone()
    finally:
        await consumer.stop()


@pytest.mark.parametrize("file", ["go/main.go", "java/Agent.java", "python/agent.py", "typescript/agent.ts"])
def test_an_example_can_be_read_at_a_glance(file: str) -> None:
    assert len((EXAMPLES / file).read_text(encoding="utf-8").splitlines()) < 60
