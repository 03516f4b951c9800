"""The examples in other languages publish to Apache Kafka, and the worker reads their events.

`make languages` runs them: they need Go, Java, Node and npm, and at the first run the network.
"""

import asyncio
import os
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer

from pattern_metrics import ScorePublisher, pattern_id_of
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.kafka import Broker, create_topic
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
    [record] = await records_of(settings, 1)
    assert record.key == str(row["pattern_id"]).encode()
    assert ("content-type", b"application/json") in record.headers


@pytest.mark.parametrize(
    ("language", "id_of", "written"),
    [(python, str, "shop.cart:total"), (typescript, pattern_id_of, str(pattern_id_of("shop.cart:total")))],
)
async def test_an_example_puts_each_pattern_into_the_partition_where_our_publisher_puts_it(
    apache_kafka: Broker,
    language: Callable[[], Command],
    id_of: Callable[[str], object],
    written: str,
) -> None:
    topic = await create_topic(apache_kafka.bootstrap_servers, partitions=12)
    settings = KafkaSettings(kafka_bootstrap_servers=apache_kafka.bootstrap_servers, kafka_topic=topic)
    interpreter, program = language()
    names = [f"shop.cart:total{number}" for number in range(8)]
    variables = {"KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers, "KAFKA_TOPIC": topic}
    async with ScorePublisher(settings) as publisher:
        ours = [await publisher.publish_score(pattern=name, quality_score=1, confidence=1) for name in names]
    for name in names:
        with changed(Path(program), written, str(id_of(name))) as another:
            command = [interpreter, another]
            await asyncio.to_thread(
                subprocess.run, command, env=os.environ | variables, check=True, timeout=120
            )

    places = {str(one.event.pattern_id).encode(): {one.partition} for one in ours}
    for record in await records_of(settings, 2 * len(names)):
        places[record.key or b""].add(record.partition)
    assert [key for key, partitions in places.items() if len(partitions) > 1] == []


@contextmanager
def changed(program: Path, before: str, after: str) -> Iterator[Path]:
    """Write a program again beside it, with another text in one place."""
    source = program.read_text(encoding="utf-8")
    assert before in source
    another = program.with_name(f"changed{program.suffix}")
    another.write_text(source.replace(before, after), encoding="utf-8")
    try:
        yield another
    finally:
        another.unlink()


async def records_of(settings: KafkaSettings, count: int) -> list[Any]:
    """Return the records of a topic."""
    consumer = AIOKafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
    )
    records = list[Any]()
    async with consumer, asyncio.timeout(60):
        while len(records) < count:
            records.append(await consumer.getone())
    return records


@pytest.mark.parametrize("file", ["go/main.go", "java/Agent.java", "python/agent.py", "typescript/agent.ts"])
def test_an_example_can_be_read_at_a_glance(file: str) -> None:
    assert len((EXAMPLES / file).read_text(encoding="utf-8").splitlines()) < 60
