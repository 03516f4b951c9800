"""From the outbox to Kafka: each event arrives, poison stays alone, and no broker is needed to publish."""

import asyncio
import json
import secrets
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError

from pattern_metrics import BlockingScorePublisher, PatternScored, Published, PublishError, ScorePublisher
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.outbox.events import rows_of
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher, record_of_row
from pattern_metrics.publisher.outbox.row import headers_text, new_row
from pattern_metrics.publisher.records import encode
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.outbox.rows import a_row, in_child, kept, succeeded
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import SettingsFactory, an_event, catch_up, expected_table, table, worker_settings
from tests.support.topics import configure
from tests.support.waiting import eventually, hold

AWAY = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")
HEADERS = headers_text("/agents/7")


@pytest.fixture
def settings(broker: Broker, settings_for: SettingsFactory) -> WorkerSettings:
    return settings_for(kafka_enable_idempotence=broker.name != "embedded")


def store(file: OutboxFile, events: Sequence[PatternScored]) -> None:
    assert file.append([rows_of(events, HEADERS)]) == [len(events)]


async def published(settings: KafkaSettings, count: int) -> list[UUID]:
    """Return the ids of the first records of the topic."""
    consumer = AIOKafkaConsumer(
        settings.kafka_topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(60):
        records = [await consumer.getone() for _ in range(count)]
    return [UUID(json.loads(record.value)["event_id"]) for record in records]


async def flush(file: OutboxFile, settings: KafkaSettings, seconds: float = 30) -> Flushed:
    flushed, flusher = Flushed(), OutboxFlusher(file, settings, seconds)
    try:
        await flusher.flush(flushed)
    finally:
        await flusher.close()
    return flushed


async def test_what_was_published_without_a_broker_becomes_the_table(
    settings: WorkerSettings, path: Path
) -> None:
    events = [an_event(pattern=n % 20, seconds=n * 7 % 50) for n in range(200)]
    async with ScorePublisher(AWAY, outbox=path) as publisher:
        first = await publisher.publish(events[0])
        rest = await publisher.publish_many(events[1:])
        score = await publisher.publish_score(pattern="billing:total", quality_score=0.5, confidence=1.0)

    assert [one.event for one in (first, *rest)] == events
    assert first == Published(events[0], AWAY.kafka_topic, None, None)
    assert await flush(OutboxFile(path), settings) == Flushed(delivered=201)
    assert (await catch_up(settings)).read == 201
    assert isinstance(score.event, PatternScored)
    assert await table(settings) == expected_table([*events, score.event])


async def test_an_open_publisher_delivers_by_itself(settings: WorkerSettings, path: Path) -> None:
    events = [an_event(n) for n in range(50)]
    async with ScorePublisher(settings, outbox=path) as publisher:
        await publisher.publish_many(events[:49])
        await eventually(lambda: OutboxFile(path).status().events == 0)
        await publisher.publish(events[49])

    assert kept(path) == []
    assert {*await published(settings, 50)} == {event.event_id for event in events}


async def test_a_blocking_publisher_and_its_forked_children_publish(
    settings: WorkerSettings, path: Path
) -> None:
    events = [an_event(n) for n in range(10)]

    def agent() -> None:
        with BlockingScorePublisher(settings, outbox=path) as publisher:
            publisher.publish(events[0])
            children = [in_child(partial(publisher.publish, event)) for event in events[1:]]
            assert [succeeded(child) for child in children] == [True] * len(children)

    await asyncio.to_thread(agent)

    await flush(OutboxFile(path), settings)
    assert {*await published(settings, 10)} == {event.event_id for event in events}


async def test_two_publishers_deliver_each_event_once(settings: WorkerSettings, path: Path) -> None:
    events = [an_event(n) for n in range(300)]
    async with ScorePublisher(settings, outbox=path) as one, ScorePublisher(settings, outbox=path) as other:
        for begin in range(0, 300, 20):
            await asyncio.gather(
                one.publish_many(events[begin : begin + 10]),
                other.publish_many(events[begin + 10 : begin + 20]),
            )
    await flush(OutboxFile(path), settings)

    assert (await catch_up(settings)).read == 300


async def test_a_stored_event_has_the_record_of_a_published_one() -> None:
    event = an_event(3)
    trace = [("traceparent", b"00-1-1-01")]
    [row] = rows_of([event], headers_text("/agents/7", trace))

    assert record_of_row(row) == encode(event, "/agents/7", trace)


async def test_an_event_of_the_future_is_refused_before_it_is_stored(path: Path) -> None:
    async with ScorePublisher(AWAY, outbox=path) as publisher:
        ahead = an_event(1, seconds=10**9)
        with pytest.raises(InvalidEventError):
            await publisher.publish(ahead)

    assert kept(path) == []


async def test_the_error_of_a_full_outbox_names_the_event(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_MAX_BYTES", str(1024 * 1024))
    monkeypatch.setenv("OUTBOX_PATH", str(path))
    events = [an_event(n, metadata={"text": "x" * 60_000}) for n in range(20)]
    async with ScorePublisher(AWAY) as publisher:
        with pytest.raises(PublishError, match=f"is full .*{events[17].event_id}") as failure:
            await publisher.publish_many(events)

    assert failure.value.unacknowledged == tuple(events[17:])
    assert [one.event for one in failure.value.published] == events[:17]
    assert len(kept(path)) == 17


async def test_a_publisher_whose_topic_is_missing_is_left_in_time_and_the_events_stay(
    apache_kafka: Broker, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=apache_kafka.bootstrap_servers, kafka_topic=f"missing.{secrets.token_hex(4)}"
    )
    async with asyncio.timeout(60), ScorePublisher(settings, outbox=path) as publisher:
        await publisher.publish(an_event(1))
        await eventually(lambda: "stay in the outbox" in caplog.text, deadline_seconds=30)

    assert len(kept(path)) == 1


async def test_the_delivery_is_ended_although_a_cancellation_is_swallowed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka's client swallows one while it is closed."""
    closing = asyncio.Event()

    async def close(_: OutboxFlusher) -> None:
        if not closing.is_set():
            closing.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(OutboxFlusher, "close", close)
    async with asyncio.timeout(30), ScorePublisher(AWAY, outbox=path) as publisher:
        await publisher.publish(an_event(1))
        await closing.wait()

    assert len(kept(path)) == 1


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e12])
def test_a_wait_that_is_none_is_refused_at_once(seconds: float, path: Path) -> None:
    for publisher in (ScorePublisher, BlockingScorePublisher):
        with pytest.raises(ValueError, match="delivery_seconds"):
            publisher(AWAY, delivery_seconds=seconds, outbox=path)


@pytest.mark.parametrize("source", [None, "", 5, b"/agent", "/agent/\ud800"], ids=repr)
@pytest.mark.parametrize("publisher", [ScorePublisher, BlockingScorePublisher])
def test_a_source_that_no_header_can_hold_is_refused_at_once(
    publisher: Callable[..., object], source: object, path: Path
) -> None:
    with pytest.raises(ValueError, match="source"):
        publisher(AWAY, source=source, outbox=path)


async def test_a_broker_that_is_away_fills_no_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """aiokafka logs each attempt to connect, and made ten a second."""
    async with ScorePublisher(AWAY, outbox=path) as publisher:
        await publisher.publish(an_event(1))
        await hold(4)

    lines = [record for record in caplog.records if record.name.startswith("aiokafka")]
    assert 1 <= len(lines) <= 8


async def test_an_outbox_that_cannot_be_used_is_an_error_on_entry() -> None:
    with pytest.raises(PublishError, match=r"outbox /proc/outbox\.db"):
        async with ScorePublisher(AWAY, outbox="/proc/outbox.db"):
            pass


@pytest.mark.parametrize("fault", ["outage", "missing topic"])
async def test_a_fault_that_no_event_has_stops_the_flush_and_loses_nothing(
    settings: WorkerSettings, path: Path, fault: str
) -> None:
    wrong = AWAY if fault == "outage" else settings.model_copy(update={"kafka_topic": "not-there"})
    file = OutboxFile(path)
    store(file, [an_event(n, event=n) for n in range(5)])

    with pytest.raises(UnknownTopicOrPartitionError if fault == "missing topic" else Exception):
        await flush(file, wrong, seconds=3)

    assert file.status()[0] == 5
    assert await flush(file, settings) == Flushed(delivered=5)


@pytest.mark.parametrize(
    "headers",
    ["no JSON", "{}", "[]", '{"ce_source": null}', '{"ce_source": "\\ud800"}', '{"ce_source": "/a", "x": 1}'],
)
async def test_an_event_whose_headers_cannot_be_sent_stops_nothing_and_is_kept(
    settings: WorkerSettings, path: Path, headers: str
) -> None:
    """Another program, or an earlier release, may have stored it."""
    file, poison = OutboxFile(path), a_row(7)
    wrong = new_row(poison.event_id, poison.pattern_id, 0, poison.stored, headers, poison.value)
    file.append([[wrong]])
    store(file, [an_event(1), an_event(2)])

    assert await flush(file, settings) == Flushed(delivered=2, refused=1)
    [kept_apart] = file.each(refused=True)
    assert kept_apart.event_id == poison.event_id
    assert "headers" in (kept_apart.reason or "")


async def test_poison_stops_nothing_and_is_kept_with_its_reason(
    apache_kafka: Broker, path: Path, migrated_database_url: str, tmp_path: Path
) -> None:
    topic = await create_topic(apache_kafka.bootstrap_servers, partitions=1)
    settings = worker_settings(
        apache_kafka.bootstrap_servers, topic, migrated_database_url, kafka_enable_idempotence=True
    )
    await configure(settings, {"max.message.bytes": "4000"})
    good = [an_event(n, seconds=n) for n in range(40)]
    poison = [an_event(n, seconds=n, metadata={"noise": secrets.token_hex(4000)}) for n in (5, 20)]
    file = OutboxFile(path)
    store(file, [*good, *poison])
    command = CommandLine(tmp_path, environment_of(settings) | {"OUTBOX_PATH": str(path)})

    flushed = await command.run("outbox", "flush", "--json")
    status = (await command.run("outbox", "status")).succeeded()
    exported = (await command.run("outbox", "export", "-", "--refused")).succeeded()
    one = await command.run("outbox", "discard", str(poison[0].event_id), str(good[0].event_id))
    again = await command.run("outbox", "flush")
    await command.run("outbox", "discard", "--all")
    end = (await command.run("outbox", "flush")).succeeded()

    assert (flushed.code, flushed.json) == (1, {"delivered": 40, "refused": 2, "left": 2})
    assert {*await published(settings, 40)} == {event.event_id for event in good}
    assert b"0 events wait; 2 were refused" in status.stdout
    assert b"refused 2: larger than the topic's max.message.bytes" in status.stdout
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {line["event_id"] for line in lines} == {str(event.event_id) for event in poison}
    assert {line["outbox_reason"] for line in lines} == {"larger than the topic's max.message.bytes"}
    assert (one.code, one.stdout) == (1, b"discarded 1 events\n")
    assert (again.code, end.stdout) == (1, b"delivered 0 events, refused 0; 0 events wait; 0 were refused\n")


async def test_the_commands_show_export_and_deliver(
    settings: WorkerSettings, path: Path, tmp_path: Path
) -> None:
    events = [an_event(n, seconds=n) for n in range(6)]
    command = CommandLine(tmp_path, environment_of(settings) | {"OUTBOX_PATH": str(path)})
    empty = (await command.run("outbox", "status", "--json")).succeeded()
    lines = b"\n".join(event.to_json() for event in events)
    stored = (await command.run("publish", "-", "--outbox", "--json", stdin=lines)).succeeded()
    status = (await command.run("outbox", "status", "--json")).succeeded()
    exported = (await command.run("outbox", "export", "-")).succeeded()
    away = await command.run("outbox", "flush", "--json", kafka_topic="not-there")
    flushed = (await command.run("outbox", "flush", "--json")).succeeded()
    compacted = (await command.run("outbox", "compact", "--json")).succeeded()

    assert empty.json == {"events": 0, "bytes": 0, "oldest_seconds": None, "refused": 0, "path": str(path)}
    assert (stored.json["stored"], stored.json["refused"], stored.json["last_line"]) == (6, 0, 6)
    assert status.json.keys() == {"events", "bytes", "oldest_seconds", "refused", "path"}
    assert (status.json["events"], status.json["refused"]) == (6, 0)
    assert exported.stdout.splitlines() == lines.splitlines()
    assert (away.code, away.json["left"]) == (1, 6)
    assert "KAFKA_TOPIC" in away.stderr
    assert flushed.json == {"delivered": 6, "refused": 0, "left": 0}
    assert {*await published(settings, 6)} == {event.event_id for event in events}
    assert compacted.json["file_bytes"] > 0


async def test_watching_delivers_what_comes_until_it_is_stopped(
    settings: WorkerSettings, path: Path, tmp_path: Path
) -> None:
    file = OutboxFile(path)
    store(file, [an_event(1)])
    command = CommandLine(tmp_path, environment_of(settings) | {"OUTBOX_PATH": str(path)})

    async def second() -> bool:
        if file.status().events == 0 and len(stored) < 2:
            event = an_event(2)
            store(file, [event])
            stored.append(event)
        return len(stored) == 2 and file.status().events == 0

    stored = [an_event(1)]
    ended = await command.interrupt(
        "outbox", "flush", "--watch", "--json", once=second, number=signal.SIGTERM
    )

    assert (ended.code, ended.json) == (0, {"delivered": 2, "refused": 0, "left": 0})


@pytest.mark.parametrize(
    "command", [["status"], ["flush"], ["export", "-"], ["compact"], ["discard", "--all"]]
)
async def test_a_command_without_the_setting_names_it(tmp_path: Path, command: list[str]) -> None:
    ended = await CommandLine(tmp_path).run("outbox", *command)

    assert (ended.code, ended.stdout) == (2, b"")
    assert ended.stderr.endswith("error: OUTBOX_PATH: is required\n")


async def test_nothing_is_discarded_by_accident(tmp_path: Path, path: Path) -> None:
    command = CommandLine(tmp_path, {"OUTBOX_PATH": str(path)})
    for arguments in ([], ["--all", str(an_event().event_id)]):
        assert (await command.run("outbox", "discard", *arguments)).code == 2
    assert kept(path) == []
