"""Topics with holes, on Apache Kafka: counts stay correct, losses are logged, and status shows them."""

import itertools
import json
import time

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from pattern_metrics.consumer.kafka.clients import METADATA_AGE_MS
from pattern_metrics.consumer.operations.migration import HEAD_REVISION
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import PROGRAM, SECONDS_MAX, CommandLine
from tests.support.kafka import administering
from tests.support.pipeline import an_event, dead_letters, expected_table, fetch, producing, send, table
from tests.support.topics import (
    COMPACTED,
    KEPT,
    configure,
    delete_records_before,
    readable,
    recreate_topic,
)
from tests.support.waiting import eventually

OLD = [an_event(number) for number in range(10)]
NEW = [an_event(number) for number in range(20, 24)]


async def test_aborted_transactions_and_compaction_confuse_no_count(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    """The offsets have holes: transaction markers, aborted records, compacted records."""
    command, settings = real_command, real_settings
    await recreate_topic(settings, partitions=1, configs=COMPACTED)
    latest: dict[int, PatternScored] = {}
    seconds, written = itertools.count(), 0

    async with producing(settings, transactional_id=settings.kafka_topic) as producer:

        async def write_until_compacted() -> bool:
            nonlocal written
            events = {number: an_event(number, seconds=next(seconds)) for number in range(5)}
            await transact(producer, settings, events, commits=True)
            await transact(producer, settings, {9: an_event(9, seconds=next(seconds))}, commits=False)
            latest.update(events)
            written += len(events)
            return (await readable(settings))[0] < written

        await eventually(write_until_compacted, poll_seconds=0.2, deadline_seconds=SECONDS_MAX)
        await configure(settings, KEPT)
        await transact(producer, settings, {9: an_event(9, seconds=next(seconds))}, commits=False)
    count, end = await readable(settings)

    dry = (await command.run("replay", "--dry-run", "--json")).succeeded()
    consumed = (await command.run("consume", "--until-caught-up", "--json")).succeeded()
    again = (await command.run("consume", "--until-caught-up", "--json")).succeeded()
    verified = (await command.run("verify", "--against-topic", "--strict", "--json")).succeeded()
    replayed = (await command.run("replay", "--json")).succeeded()
    status = (await command.run("status", "--json")).succeeded()

    assert 0 < count < written < end
    assert dry.json == {"read": count, "applied": 5, "superseded": count - 5, "dead_letters": 0}
    assert consumed.json["read"] == consumed.json["applied"] + consumed.json["superseded"] == count
    assert again.json["read"] == 0
    assert (verified.json["read"], verified.json["differences"]) == (count, {})
    assert replayed.json == {"read": count, "applied": 0, "superseded": count, "dead_letters": 0}
    assert (status.json["lag"], status.json["gaps"]) == (0, 0)
    assert await table(settings) == expected_table(latest.values())


async def transact(
    producer: AIOKafkaProducer, settings: WorkerSettings, events: dict[int, PatternScored], *, commits: bool
) -> None:
    await producer.begin_transaction()
    for number, event in events.items():
        await producer.send_and_wait(settings.kafka_topic, event.to_json(), key=b"%d" % number)
    await (producer.commit_transaction() if commits else producer.abort_transaction())


async def test_a_topic_recreated_is_noticed_and_read_from_its_beginning(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, settings = real_command, real_settings
    await send(settings, [*(event.to_json() for event in OLD), b"poison"])
    (await command.run("consume", "--until-caught-up")).succeeded()
    await recreate_topic(settings, partitions=3)
    await send(settings, [*(event.to_json() for event in NEW), b"other poison"])

    before = await command.run("verify", "--against-topic")
    consumed = await command.run("consume", "--until-caught-up", "--json", log_format="json")
    after = (await command.run("verify", "--against-topic", "--json")).succeeded()

    assert before.code == 1
    assert "FAILED the progress lies within the log (partition 0 has records" in before.stdout.decode()
    assert "no progress in this topic); mend it with: pattern-metrics consume" in before.stdout.decode()
    assert consumed.succeeded().json == {"read": 5, "applied": 4, "superseded": 0, "dead_letters": 1}
    warnings = [line for line in map(json.loads, consumed.stderr.splitlines()) if line["level"] == "warning"]
    assert [line["event"] for line in warnings] == ["new_topic_id"]
    assert await table(settings) == expected_table([*OLD, *NEW])
    assert [value for value, _ in await dead_letters(settings)] == [b"other poison", b"poison"]
    assert after.json["differences"] == {"absent_in_topic": len(OLD)}


async def test_a_topic_that_is_recreated_under_a_running_worker_is_noticed_too(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    async with real_command.worker() as worker:
        await send(real_settings, [event.to_json() for event in OLD])
        await worker.wait_until_read(len(OLD))
        await recreate_topic(real_settings, partitions=3)
        await send(real_settings, [event.to_json() for event in NEW])
        await worker.wait_until_read(len(OLD) + len(NEW))
        warnings = {line["event"] for line in worker.events() if line["level"] == "warning"}
        code = await worker.terminate()

    assert code == 0
    assert "new_topic_id" in warnings
    assert await table(real_settings) == expected_table([*OLD, *NEW])


async def test_a_topic_that_was_away_is_read_before_the_client_checks_again_by_itself(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    """The client drops the partitions of a topic that is away, and looks for new ones every 30 s."""
    async with real_command.worker() as worker:
        await worker.wait_for_event("partitions_assigned")
        async with administering(real_settings.kafka_bootstrap_servers) as admin:
            await admin.delete_topics([real_settings.kafka_topic])
            await worker.wait_for_event("partitions_assigned", partitions=[])
            noticed_at = time.monotonic()
            await admin.create_topics([NewTopic(real_settings.kafka_topic, 3, 1)])
        await worker.wait_for_event("partitions_assigned", partitions=[0, 1, 2], count=2)
        seconds = time.monotonic() - noticed_at

    assert seconds < METADATA_AGE_MS / 1000 * 0.9


async def test_status_shows_lag_rows_dead_letters_gaps_and_where_each_partition_is(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, settings = real_command, real_settings
    await send(settings, [*(an_event(number).to_json() for number in range(5)), b"poison", b"\xff"])
    await send(settings, [an_event(9).to_json()], partition=2)
    before = (await command.run("status", "--json")).succeeded().json
    (await command.run("consume", "--until-caught-up")).succeeded()
    await send(settings, [an_event(number).to_json() for number in range(10, 16)])
    await delete_records_before(settings, 11)

    consumed = await command.run("consume", "--until-caught-up", "--json", log_format="json")
    await send(settings, [an_event(number).to_json() for number in range(20, 24)], partition=2)
    after = (await command.run("status", "--json")).succeeded().json
    shown = (await command.run("status", columns=120)).succeeded().stdout.decode()

    assert (before["lag"], before["patterns"], before["last_write"]) == (8, 0, None)
    [gap] = [line for line in map(json.loads, consumed.stderr.splitlines()) if line["event"] == "gap"]
    assert (gap["level"], gap["partition"], gap["first_offset"], gap["last_offset"]) == ("warning", 0, 7, 10)
    assert consumed.succeeded().json["applied"] == 2
    [row] = await fetch(
        settings,
        "SELECT consumer_group, topic, partition, first_offset, last_offset, now() - noticed_at < '5 min' "
        "FROM ingest_gaps",
    )
    assert tuple(row) == (settings.kafka_group_id, settings.kafka_topic, 0, 7, 10, True)
    assert (after["lag"], after["patterns"], after["dead_letters"]) == (4, 8, 2)
    assert (after["gaps"], after["gap_offsets"], after["revision"]) == (1, 4, HEAD_REVISION)
    assert after["dead_letters_by_reason"] == {"invalid_json": 1, "invalid_utf8": 1}
    of_topic = {"topic": settings.kafka_topic, "unavailable": None, "held_back": 0}
    assert after["partitions"] == [
        of_topic | {"partition": 0, "next_offset": 13, "end": 13, "lag": 0},
        of_topic | {"partition": 1, "next_offset": 0, "end": 0, "lag": 0},
        of_topic | {"partition": 2, "next_offset": 1, "end": 5, "lag": 4},
    ]
    for line in (
        "lag           4",
        f"patterns      8 (last write {after['last_write'][:19]}",
        "dead letters  2: 1 invalid_json, 1 invalid_utf8",
        "gaps          1 (4 offsets): 1 retention",
        f"revision      {HEAD_REVISION}",
    ):
        assert line in shown
    assert len(shown.splitlines()) < 24


async def test_status_is_refreshed_while_it_is_watched(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    async with real_command.watched("status", "--watch") as status:
        await status.wait_for("lag +0")
        await send(real_settings, [an_event(number).to_json() for number in range(7)])
        await status.wait_for("lag +7")
        code = await status.press_ctrl_c()

    assert code == 0


async def test_status_that_is_watched_by_a_program_comes_as_lines(real_command: CommandLine) -> None:
    watched = await real_command.run_program("/bin/sh", "-c", f"{PROGRAM} status --watch --json | head -n 2")

    assert [json.loads(line)["lag"] for line in watched.succeeded().stdout.splitlines()] == [0, 0]
    assert watched.stderr == ""


async def test_status_reports_a_position_beyond_the_end_of_the_log(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await send(real_settings, [an_event(number).to_json() for number in range(5)])
    (await real_command.run("consume", "--until-caught-up")).succeeded()
    sound = (await real_command.run("status")).succeeded().stdout.decode()
    await fetch(real_settings, "UPDATE ingest_progress SET next_offset = 12 WHERE partition = 0 RETURNING 1")

    found = (await real_command.run("status", "--json")).succeeded().json
    shown = (await real_command.run("status", columns=120)).succeeded().stdout.decode()

    assert (found["lag"], found["beyond_end"]) == (0, 7)
    assert "beyond" not in sound
    assert "the position lies beyond the log's end in partition 0" in shown
    assert "7 beyond the end" in shown
