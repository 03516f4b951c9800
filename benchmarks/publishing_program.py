"""One publisher at work, as a program with the arguments SYSTEM WORK BOOTSTRAP TOPIC COUNT OUTBOX.

It runs in the project's environment, and for confluent-kafka in one that has this client alone. It prints its
figures as JSON; with the work `endless` it prints the id of each event whose call has returned, until killed.
"""

import asyncio
import json
import os
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 10_000
NOWHERE = "127.0.0.1:1"

Publish = Callable[[list[Any]], Awaitable[None]]


def contents(count: int) -> Iterator[dict[str, Any]]:
    """Yield what an agent knows of its measurements."""
    for number in range(count):
        yield {
            "event_id": str(uuid.uuid4()),
            "pattern_id": str(uuid.UUID(int=number % 1085)),
            "quality_score": number % 1000 / 1000,
            "confidence": 0.9,
            "measurement_timestamp": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
            "version": "1.0.0",
            "metadata": {
                "name": f"billing.bills:Invoice{number:07}.total",
                "kind": "function",
                "dimensions": {"completeness": 0.5, "documentation": 0.25, "complexity": 0.75},
                "location": {"path": f"billing/inv{number:07}.py", "line": number % 900},
            },
        }


async def ours(bootstrap: str, topic: str, work: str, outbox: str, run: Callable[[Publish], Any]) -> None:
    """Publish by `ScorePublisher`, with an outbox if its path is not empty.

    Where storing is measured, no broker is there, so that nothing is delivered meanwhile.
    """
    from pattern_metrics import ScorePublisher
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

    is_storing = outbox and work != "endless"
    settings = KafkaSettings(kafka_bootstrap_servers=NOWHERE if is_storing else bootstrap, kafka_topic=topic)
    async with ScorePublisher(settings, outbox=outbox or False) as publisher:
        await run(publisher.publish_many)  # type: ignore[arg-type]


async def aiokafka(bootstrap: str, topic: str, run: Callable[[Publish], Any], *, waits: bool) -> None:
    """Publish by aiokafka's producer, as its documentation shows it."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,
        max_batch_size=128 * 1024,
    )
    async with producer:

        async def publish(events: list[Any]) -> None:
            sent = [
                await producer.send(topic, json.dumps(event).encode(), event["pattern_id"].encode())
                for event in events
            ]
            if waits:
                await asyncio.gather(*sent)

        await run(publish)


async def confluent(bootstrap: str, topic: str, run: Callable[[Publish], Any], *, waits: bool) -> None:
    """Publish by confluent-kafka's producer, as its documentation shows it."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )

    async def publish(events: list[Any]) -> None:
        for event in events:
            producer.produce(topic, json.dumps(event).encode(), event["pattern_id"])
            producer.poll(0)
        if waits:
            producer.flush()

    await run(publish)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    """Return the peak of this program's memory. `ru_maxrss` begins with the memory of its parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def main(system: str, work: str, bootstrap: str, topic: str, count: int, outbox: str) -> None:
    """Do the work with the system, and print its figures."""
    is_ours = system.startswith("pattern-metrics")
    events = _events(count, is_ours=is_ours)

    async def run(publish: Publish) -> None:
        if work == "endless":
            await _publish_for_ever(publish, events)
        else:
            ready = list(events)
            await publish(ready[:1])
            await _measure(publish, ready, work)

    if is_ours:
        await ours(bootstrap, topic, work, outbox, run)
    elif system == "aiokafka":
        await aiokafka(bootstrap, topic, run, waits=work != "endless")
    else:
        await confluent(bootstrap, topic, run, waits=work != "endless")


def _events(count: int, *, is_ours: bool) -> Iterator[Any]:
    if not is_ours:
        yield from contents(count)
        return
    from datetime import UTC, datetime

    from pattern_metrics.schemas.pattern_scored import parse_event

    now = datetime.now(UTC)
    for event in contents(count):
        yield parse_event(json.dumps(event).encode(), accepted_until=now)


async def _publish_for_ever(publish: Publish, events: Iterator[Any]) -> None:
    for event in events:
        await publish([event])
        event_id = event["event_id"] if isinstance(event, dict) else event.event_id
        os.write(1, f"{event_id}\n".encode())


async def _measure(publish: Publish, events: list[Any], work: str) -> None:
    cpu, began, count = _cpu(), time.monotonic(), len(events)
    if work == "many":
        for begin in range(0, count, CHUNK):
            await publish(events[begin : begin + CHUNK])
    else:
        callers = int(work)

        async def caller(which: int) -> None:
            for event in events[which::callers]:
                await publish([event])

        await asyncio.gather(*(caller(which) for which in range(callers)))
    seconds = time.monotonic() - began
    figures = {"rate": count / seconds, "cpu": (_cpu() - cpu) / count, "peak": _peak()}
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, system_, work_, bootstrap_, topic_, count_, outbox_ = sys.argv
    asyncio.run(main(system_, work_, bootstrap_, topic_, int(count_), outbox_))
