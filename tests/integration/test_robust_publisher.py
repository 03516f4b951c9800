"""The publisher on Apache Kafka that refuses, forgets, denies and would create topics by itself.

One broker serves all cases. Each has a topic of its own, with one partition, so that an event after a refusal
meets what that left behind.
"""

import asyncio
import itertools
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, InvalidTimestampError
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from pattern_metrics import PatternScored, Published, PublishError, ScorePublisher
from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.gateway import delivery
from pattern_metrics.publisher.producer import Producer
from pattern_metrics.publisher.producer import _close as close_client
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.command import CommandLine
from tests.support.gateway import gateway_settings, running_gateway
from tests.support.kafka import ApacheKafka, Broker, Listener, administering, create_topic, require_apache
from tests.support.pipeline import an_event, catch_up, expected_table, running, table, worker_settings
from tests.support.proxy import Proxy
from tests.support.topics import configure
from tests.support.waiting import eventually, hold

PROXIED: Final = "PROXIED"

SECONDS: Final = 60.0
"""Time for one delivery: a machine that is busy must not fail a test."""

FAR_SECONDS: Final = 6.0
"""Time for one delivery where it has to pass, or a part of it."""

SMALL_BYTES: Final = 4_000
"""A limit that a small event fits, and neither many of them nor a large one."""


@pytest.fixture(scope="module")
def kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """A broker that creates topics by itself, that can deny a topic, and whose clients may use a proxy."""
    require_apache(request)
    with ApacheKafka(
        {PROXIED: Listener("PLAINTEXT", advertised_port=free_port())},
        {
            "auto.create.topics.enable": "true",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        },
    ) as server:
        yield server


@pytest.fixture
async def settings(kafka: ApacheKafka) -> KafkaSettings:
    topic = await create_topic(kafka.bootstrap_servers, partitions=1)
    return KafkaSettings(kafka_bootstrap_servers=kafka.bootstrap_servers, kafka_topic=topic)


@asynccontextmanager
async def proxied(kafka: ApacheKafka, settings: KafkaSettings) -> AsyncIterator[tuple[Proxy, KafkaSettings]]:
    """Reach the broker through a proxy alone."""
    port = kafka.listeners[PROXIED].advertised_port or 0
    async with Proxy(kafka.port_of(PROXIED), port) as proxy:
        yield proxy, settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{port}"})


def large(number: int = 1) -> PatternScored:
    """Return an event that cannot be compressed to SMALL_BYTES."""
    return an_event(number, metadata={"noise": secrets.token_hex(SMALL_BYTES)})


async def values(settings: KafkaSettings) -> list[dict[str, Any]]:
    """Return the topic's records, by offset."""
    partition = TopicPartition(settings.kafka_topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        found = list[dict[str, Any]]()
        while len(found) < end:
            found += [json.loads((await consumer.getone()).value)]
        return found


async def are_in(settings: KafkaSettings, *published: Published) -> bool:
    """Return whether each event lies at its place."""
    found = await values(settings)
    return all(
        (one.topic, one.partition) == (settings.kafka_topic, 0)
        and found[one.offset or 0]["event_id"] == str(one.event.event_id)
        for one in published
    )


async def topics(kafka: ApacheKafka) -> set[str]:
    async with administering(kafka.bootstrap_servers) as admin:
        return set(await admin.list_topics())


async def test_a_record_that_is_too_large_is_refused_and_the_next_one_is_not(settings: KafkaSettings) -> None:
    await configure(settings, {"max.message.bytes": str(SMALL_BYTES)})
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        first = await agent.publish(an_event(1))
        with pytest.raises(PublishError, match=r"1 events refused \(.*max.message.bytes\)") as failure:
            await agent.publish(refused := large())
        second = await agent.publish(an_event(2))

    assert [(one.event, failure.value.unacknowledged) for one in failure.value.refused] == [(refused, ())]
    assert await are_in(settings, first, second)


async def test_a_batch_that_is_refused_for_one_record_is_delivered_but_for_it(
    settings: KafkaSettings,
) -> None:
    await configure(settings, {"max.message.bytes": str(SMALL_BYTES)})
    events = [large(number) if number == 70 else an_event(number) for number in range(200)]
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        with pytest.raises(PublishError) as failure:
            await agent.publish_many(events)
        again = await agent.publish_many(events[:70])

    assert [one.event for one in failure.value.refused] == [events[70]]
    assert [one.event for one in failure.value.published] == events[:70] + events[71:]
    assert await are_in(settings, *failure.value.published, *again)
    assert len(await values(settings)) == 199 + 70


async def test_whatever_is_refused_nothing_else_is_lost_or_twice(settings: KafkaSettings) -> None:
    await configure(settings, {"max.message.bytes": str(SMALL_BYTES)})
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:

        async def publish(shape: list[bool]) -> list[Published]:
            events = [
                large(number) if is_large else an_event(number) for number, is_large in enumerate(shape)
            ]
            try:
                published, refused = await agent.publish_many(events), list[PatternEvent]()
            except PublishError as error:
                published, refused = list(error.published), [one.event for one in error.refused]
            assert refused == list(itertools.compress(events, shape))
            assert [one.event for one in published] == [event for event in events if event not in refused]
            return published

        calls = list[list[list[bool]]]()

        @drawn(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.lists(st.booleans(), max_size=40), min_size=1, max_size=4))
        def draw(together: list[list[bool]]) -> None:
            calls.append(together)

        draw()
        published = [
            one
            for together in calls
            for call in await asyncio.gather(*map(publish, together))
            for one in call
        ]

    assert sorted(one.offset or 0 for one in published) == list(range(len(await values(settings))))
    assert await are_in(settings, *published)


async def test_the_command_publishes_a_file_whose_batches_are_above_the_limit(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    await configure(settings, {"max.message.bytes": str(SMALL_BYTES)})
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(an_event(number).to_json() + b"\n" for number in range(3_000)))
    command = CommandLine(
        tmp_path,
        {"KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers, "KAFKA_TOPIC": settings.kafka_topic},
    )

    finished = await command.run("publish", file, "--json")

    assert finished.succeeded().json["published"] == 3_000
    assert len(await values(settings)) == 3_000


async def test_a_denied_topic_is_an_error_at_once_and_none_once_it_is_granted(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        first = await agent.publish(an_event(1))
        async with writing_denied(kafka, settings):
            with pytest.raises(PublishError, match="TopicAuthorizationFailedError") as failure:
                await agent.publish(denied := an_event(2))
        second = await agent.publish(denied)

    assert failure.value.unacknowledged == (denied,)
    assert await are_in(settings, first, second)


@asynccontextmanager
async def writing_denied(kafka: ApacheKafka, settings: KafkaSettings) -> AsyncIterator[None]:
    """Allow reading alone: once a topic has an ACL, what no ACL allows is denied."""
    rule = (2, settings.kafka_topic, 3, "User:ANONYMOUS", "*", 3, 3)  # topic, literal, read, allow
    async with administering(kafka.bootstrap_servers) as admin:
        await admin._send_to_controller(CreateAclsRequest(*rule))
        try:
            yield
        finally:
            await admin._send_to_controller(DeleteAclsRequest(*rule))


async def test_a_time_that_the_topic_refuses_holds_up_nothing_after_it(settings: KafkaSettings) -> None:
    await configure(settings, {"message.timestamp.before.max.ms": "0"})
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:

        async def is_refused() -> bool:  # unless it arrives within its millisecond
            try:
                await agent.publish(an_event(1))
            except PublishError as error:
                return isinstance(error.__cause__, InvalidTimestampError)
            return False

        await eventually(is_refused)
        await configure(settings, {})
        published = await agent.publish(an_event(2))

    assert await are_in(settings, published)


async def test_many_tasks_that_publish_one_event_each_learn_its_place(settings: KafkaSettings) -> None:
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        published = await asyncio.gather(
            *(
                agent.publish_score(pattern=f"shop:f{number}", quality_score=0.5, confidence=1.0)
                for number in range(300)
            )
        )

    assert sorted(one.offset or 0 for one in published) == list(range(300))
    assert await are_in(settings, *published)


async def test_a_connection_that_a_firewall_forgot_costs_time_and_no_event(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    async with (
        proxied(kafka, settings) as (proxy, far),
        ScorePublisher(far, delivery_seconds=FAR_SECONDS) as agent,
    ):
        first = await agent.publish(an_event(1))
        proxy.forget()
        others = await asyncio.gather(*(agent.publish(an_event(number)) for number in range(2, 12)))

    assert await are_in(settings, first, *others)


async def test_a_cancellation_while_the_connections_are_closed_is_not_lost(settings: KafkaSettings) -> None:
    """aiokafka swallows it, and a task that runs on is waited for without end."""
    producer = Producer(settings, SECONDS)
    await producer.open()
    closing = asyncio.create_task(close_client(producer._client))
    asyncio.get_running_loop().call_soon(closing.cancel)  # after its first step
    await asyncio.wait({closing})

    assert closing.cancelled()


async def test_a_broker_that_moved_is_found_again_by_the_address_in_the_settings(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    """The addresses in the metadata are dead, as after a failover behind one host name."""
    async with AsyncExitStack() as entering:
        entry = await entering.enter_async_context(Proxy(kafka.port_of(PROXIED)))
        by_entry = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{entry.port}"})
        async with proxied(kafka, settings):
            agent = ScorePublisher(by_entry, delivery_seconds=SECONDS)
            await entering.enter_async_context(agent)
            first = await agent.publish(an_event(1))
        entry.redirect(kafka.port)
        second = await agent.publish(an_event(2))

    assert await are_in(settings, first, second)


async def test_an_event_is_not_taken_for_one_that_arrived_without_an_answer(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    """The broker would acknowledge it as a repetition, and drop it, if both had one sequence number."""
    async with (
        proxied(kafka, settings) as (proxy, far),
        ScorePublisher(far, delivery_seconds=FAR_SECONDS) as agent,
    ):
        await agent.publish(an_event(1))
        proxy.mute()
        with pytest.raises(PublishError) as failure:
            await agent.publish(arrived := an_event(2))
        proxy.restore()
        await agent.publish(an_event(3))

    assert failure.value.unacknowledged == (arrived,)
    assert [one["pattern_id"] for one in await values(settings)] == [
        str(an_event(number).pattern_id) for number in (1, 2, 3)
    ]


async def test_an_event_whose_answer_was_lost_is_sent_again_and_stays_one_record(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    async with (
        proxied(kafka, settings) as (proxy, far),
        ScorePublisher(far, delivery_seconds=SECONDS / 3) as agent,
    ):
        first = await agent.publish(an_event(1))
        proxy.mute()
        publishing = asyncio.create_task(agent.publish(an_event(2)))

        async def has_arrived() -> bool:
            return len(await values(settings)) == 2

        await eventually(has_arrived)
        proxy.restore()
        second, third = await publishing, await agent.publish(an_event(3))

    assert await are_in(settings, first, second, third)
    assert len(await values(settings)) == 3


async def test_neither_many_events_nor_a_refusal_need_a_new_producer_id(settings: KafkaSettings) -> None:
    await configure(settings, {"max.message.bytes": str(SMALL_BYTES)})
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        await agent.publish(an_event(1))
        assert agent._producer is not None
        [lane] = agent._producer._lanes.values()
        identity = lane._identity
        with pytest.raises(PublishError):
            await agent.publish(large())
        await agent.publish_many([an_event(number) for number in range(5)])
        await agent.publish(an_event(2))

    assert lane._identity == identity


async def test_a_broker_that_comes_back_in_time_is_no_error_on_entry(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    async with proxied(kafka, settings) as (proxy, far):
        proxy.cut()
        agent = ScorePublisher(far, delivery_seconds=SECONDS)
        entering = asyncio.create_task(agent.__aenter__())
        await hold(1)
        assert not entering.done()
        proxy.restore()
        await entering
        published = await agent.publish(an_event(1))
        await agent.__aexit__(None, None, None)

    assert await are_in(settings, published)


async def test_a_broker_that_never_answers_is_an_error_within_the_time(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    async with proxied(kafka, settings) as (proxy, far), asyncio.timeout(SECONDS):
        async with ScorePublisher(far, delivery_seconds=2) as agent:
            await agent.publish(an_event(1))
            proxy.freeze()
            with pytest.raises(PublishError) as failure:
                await agent.publish_many(events := [an_event(number) for number in range(2, 9)])
        with pytest.raises(PublishError, match="no event can be published"):
            await ScorePublisher(far, delivery_seconds=2).__aenter__()

    assert list(failure.value.unacknowledged) == events


async def test_a_topic_that_does_not_exist_is_named_and_not_created(
    kafka: ApacheKafka, settings: KafkaSettings
) -> None:
    mistyped = settings.model_copy(update={"kafka_topic": settings.kafka_topic + "-mistyped"})
    async with ScorePublisher(mistyped, delivery_seconds=SECONDS) as agent:
        with pytest.raises(PublishError, match=f"topic {mistyped.kafka_topic} does not exist"):
            await agent.publish(an_event(1))

    assert mistyped.kafka_topic not in await topics(kafka)


async def test_a_deleted_topic_stays_deleted_under_an_open_publisher_and_an_idle_worker(
    kafka: ApacheKafka, settings: KafkaSettings, migrated_database_url: str
) -> None:
    reading = worker_settings(settings.kafka_bootstrap_servers, settings.kafka_topic, migrated_database_url)
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        await agent.publish(an_event(1))
        await catch_up(reading)
        async with running(reading):
            async with administering(kafka.bootstrap_servers) as admin:
                await admin.delete_topics([settings.kafka_topic])
            with pytest.raises(PublishError, match=f"{settings.kafka_topic}"):
                await agent.publish(an_event(2))
            await hold(3)

            assert settings.kafka_topic not in await topics(kafka)


async def test_a_broker_without_producer_ids_is_named_with_the_setting(embedded_broker: Broker) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=embedded_broker.bootstrap_servers,
        kafka_topic=await create_topic(embedded_broker.bootstrap_servers),
        kafka_enable_idempotence=True,
    )
    async with ScorePublisher(settings, delivery_seconds=SECONDS) as agent:
        with pytest.raises(PublishError, match="set KAFKA_ENABLE_IDEMPOTENCE=false") as failure:
            await agent.publish(an_event(1))

    assert isinstance(failure.value.__cause__, IncompatibleBrokerVersion)


FORK_BLOCKING: Final = """
import gc, os, time
from pattern_metrics import BlockingScorePublisher

def score(publisher):
    return publisher.publish_score(pattern="shop:f", quality_score=0.5, confidence=1).offset

with BlockingScorePublisher() as publisher:
    score(publisher)
    child = os.fork()
    try:
        begin = time.monotonic()
        print("published at", score(publisher), flush=True)
    except RuntimeError as error:
        print("error:", error, flush=True)
    if child:
        os.waitpid(child, 0)
        score(publisher)
        print("as fast as ever:", time.monotonic() - begin < 8, flush=True)
if not child:
    gc.collect()
    with BlockingScorePublisher() as own:
        score(own)
print("left the block", flush=True)
"""

FORK_ASYNCHRONOUS: Final = """
import asyncio, gc, os, time
from pattern_metrics import ScorePublisher

async def score(publisher):
    return (await publisher.publish_score(pattern="shop:f", quality_score=0.5, confidence=1)).offset

async def main():
    async with ScorePublisher() as publisher:
        await score(publisher)
        child = os.fork()
        try:
            begin = time.monotonic()
            print("published at", await score(publisher), flush=True)
        except RuntimeError as error:
            print("error:", error, flush=True)
        if child:
            await asyncio.to_thread(os.waitpid, child, 0)
            await score(publisher)
            print("as fast as ever:", time.monotonic() - begin < 8, flush=True)
    print("left the block", flush=True)
    if not child:
        gc.collect()
        os._exit(0)  # the event loop is the parent's

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [FORK_BLOCKING, FORK_ASYNCHRONOUS], ids=["blocking", "asynchronous"])
async def test_a_forked_child_gets_an_error_at_once_and_harms_no_parent(
    settings: KafkaSettings, script: str
) -> None:
    environment: Mapping[str, str] = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAFKA_TOPIC": settings.kafka_topic,
    }

    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert sorted(finished.stdout.splitlines()) == [
        "as fast as ever: True",
        "error: this process was forked from one with an open publisher: open a publisher in the child",
        "left the block",
        "left the block",
        "published at 1",
    ], finished.stderr
    assert finished.returncode == 0
    assert finished.stderr == ""


async def test_a_batch_by_http_that_the_broker_leaves_is_repeated_and_nothing_is_lost_or_twice(
    kafka: ApacheKafka, settings: KafkaSettings, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "ACKNOWLEDGED_SECONDS", FAR_SECONDS / 3)
    events = [an_event(number, metadata={"noise": secrets.token_hex(300)}) for number in range(1_000)]
    body = b"[%b]" % b",".join(event.to_json() for event in events)
    forwarded = 0
    async with (
        proxied(kafka, settings) as (proxy, far),
        running_gateway(gateway_settings(far)) as agent,
    ):

        def leave_in_the_middle(chunk: bytes) -> bytes:
            nonlocal forwarded
            forwarded += len(chunk)
            if forwarded > len(body) // 2:
                proxy.cut()
            return chunk

        await agent.wait_until_ready()
        proxy.censor(leave_in_the_middle)
        first = await agent.post(body)
        meanwhile = await agent.post(events[0].to_json())
        proxy.restore()
        await agent.wait_until_ready()
        again = await agent.post(body)

    statuses = Counter(result["status"] for result in first.json["results"])
    assert first.status == meanwhile.status == 503
    assert first.headers["retry-after"]
    assert set(statuses) == {"accepted", "unacknowledged"}, "the broker left in the middle"
    assert (again.status, again.json["accepted"]) == (200, len(events))
    worker = worker_settings(settings.kafka_bootstrap_servers, settings.kafka_topic, migrated_database_url)
    accounting = await catch_up(worker)
    assert accounting.applied == len(events)
    assert await table(worker) == expected_table(events)
