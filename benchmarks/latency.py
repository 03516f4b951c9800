"""Measures the latency of a lone record, from Kafka's acknowledgement to a visible row."""

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Final
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.clients import Client
from benchmarks.events import PARTITIONS
from benchmarks.measuring import RUN_SECONDS_MAX, WAL_POSITION, Work, completion, rehearse, wait_until
from benchmarks.processes import cpu_seconds, peak_bytes
from benchmarks.programs import Program
from benchmarks.results import Latency, Run
from benchmarks.services import Services, connected
from benchmarks.topics import ENCODINGS, Encode
from pattern_metrics.publisher.records import cloud_event_headers
from pattern_metrics.schemas.pattern_scored import PatternScored

_SETTLE_SECONDS: Final = 2.0
_PAUSE_SECONDS_MAX: Final = 0.1
_VISIBLE_SECONDS_MAX: Final = 30.0
_VISIBLE: Final = "SELECT true FROM pattern_quality_metrics WHERE pattern_id = $1"


async def measure_latency(
    services: Services, client: Client, work: Work, rate: int, samples: int, repetition: int
) -> Run:
    """Time lone records amid `rate` other events a second, once the client has read the rest of the topic."""
    client.install()
    bootstrap_servers = services.kafka.bootstrap_servers
    async with asyncio.timeout(RUN_SECONDS_MAX), services.database() as dsn, connected(dsn) as connection:
        job = work.job(services, dsn, ends=False)
        is_complete = await completion(connection, client, work, job)
        async with (
            client.prepared(bootstrap_servers, lambda other: rehearse(services, other, work)),
            client.consuming(job) as consuming,
        ):
            await wait_until(is_complete, consuming)
            await connection.execute("CHECKPOINT")
            with _background(bootstrap_servers, work.topic.name, client.encoding, rate) as background:
                await asyncio.sleep(_SETTLE_SECONDS)
                wal, started = await connection.fetchval(WAL_POSITION), time.monotonic()
                pids = (consuming.pids, [services.postgres.pid], [services.kafka.pid])
                before = [cpu_seconds(*part) for part in pids]
                latency = await _sample(
                    connection, bootstrap_servers, work.topic.name, ENCODINGS[client.encoding], samples
                )
                seconds, after = time.monotonic() - started, [cpu_seconds(*part) for part in pids]
                peak = peak_bytes(*consuming.pids, processes=len(consuming.pids))
                wal = await connection.fetchval(WAL_POSITION) - wal
                background.require_running()
                consuming.check()
    client_cpu, postgres_cpu, kafka_cpu = (end - begin for begin, end in zip(before, after, strict=True))
    return Run(
        work.scenario,
        work.variant,
        client.name,
        repetition,
        samples,
        seconds=seconds,
        seconds_with_start=seconds,
        cpu_client=client_cpu,
        cpu_client_with_start=client_cpu,
        cpu_postgres=postgres_cpu,
        cpu_kafka=kafka_cpu,
        peak_bytes=peak,
        wal_bytes=wal,
        latency=latency,
    )


def _background(bootstrap_servers: str, topic: str, encoding: str, rate: int) -> Program:
    arguments = (bootstrap_servers, topic, encoding, str(rate))
    root = str(Path(__file__).parents[1])
    return Program([sys.executable, "-m", "benchmarks.background", *arguments], {"PYTHONPATH": root})


async def _sample(
    connection: asyncpg.Connection, bootstrap_servers: str, topic: str, encode: Encode, samples: int
) -> Latency:
    dice = random.Random()  # noqa: S311 - random, so that the samples do not synchronise with anything
    seconds, looks = [], 0
    visible = await connection.prepare(_VISIBLE)
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer,
        AIOKafkaConsumer(bootstrap_servers=bootstrap_servers) as observer,
    ):
        begin, started = await _end(observer, topic), time.monotonic()
        for _ in range(samples):
            await asyncio.sleep(dice.uniform(0, _PAUSE_SECONDS_MAX))
            event = _lone_event()
            headers = cloud_event_headers(event, "/pattern-metrics")
            key = str(event.pattern_id).encode()
            await producer.send_and_wait(topic, encode(event.to_json()), key=key, headers=headers)
            acknowledged = time.monotonic()
            async with asyncio.timeout(_VISIBLE_SECONDS_MAX):
                looks += 1
                while not await visible.fetchval(event.pattern_id):
                    looks += 1
            seconds.append(time.monotonic() - acknowledged)
        others = await _end(observer, topic) - begin - samples
        return summarise_latency(seconds, looks, others / (time.monotonic() - started))


async def _end(observer: AIOKafkaConsumer, topic: str) -> int:
    """Return the number of records in the topic."""
    ends = await observer.end_offsets([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
    return sum(ends.values())


def _lone_event() -> PatternScored:
    return PatternScored(
        event_id=uuid4(),
        pattern_id=uuid4(),
        quality_score=0.5,
        confidence=0.5,
        measurement_timestamp=datetime.now(UTC),
        metadata={"name": "billing.bills:lone"},
    )


def summarise_latency(seconds: Sequence[float], looks: int, others_per_second: float) -> Latency:
    """Return the latencies in milliseconds; `looks` queries of the table took all that time together."""
    cuts = [cut * 1000 for cut in quantiles(seconds, n=100, method="inclusive")]
    return Latency(len(seconds), cuts[49], cuts[94], cuts[98], sum(seconds) / looks * 1000, others_per_second)
