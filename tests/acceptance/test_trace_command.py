"""`trace`: the place of an event, from the topic to the table."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics import Published, ScorePublisher, pattern_id_of
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.score import new_event_id, score_event
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, catch_up, execute, producing, send

NAME = "shop.cart:total"


@pytest.fixture
async def agent(real_settings: WorkerSettings) -> AsyncIterator[ScorePublisher]:
    async with ScorePublisher(real_settings) as publisher:
        yield publisher


async def score(agent: ScorePublisher, minutes_ago: float = 0) -> Published:
    measured_at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return await agent.publish_score(pattern=NAME, quality_score=0.5, confidence=1.0, measured_at=measured_at)


async def trace(command: CommandLine, event_id: object, *options: str, code: int = 0) -> dict[str, Any]:
    finished = await command.run("trace", str(event_id), "--json", *options)
    assert finished.code == code, finished.stderr
    found: dict[str, Any] = finished.json
    return found


async def test_an_event_is_traced_from_the_topic_to_the_row_and_to_what_superseded_it(
    agent: ScorePublisher, real_command: CommandLine, real_settings: WorkerSettings, tmp_path: Path
) -> None:
    first = await score(agent, minutes_ago=2)
    place = {"topic": first.topic, "partition": first.partition, "offset": first.offset}
    at = f"{first.topic}/{first.partition}/{first.offset}"

    waiting = [
        await trace(real_command, first.event.event_id, *options)
        for options in ((), ("--pattern", NAME), ("--pattern", str(first.event.pattern_id)), ("--at", at))
    ]
    await catch_up(real_settings)
    current = await trace(real_command, first.event.event_id, "--at", at)
    places = f"{at}1", f"{first.topic}/99/0", f"missing/0/{first.offset}"
    elsewhere = [await trace(real_command, first.event.event_id, "--at", place) for place in places]
    away = CommandLine(tmp_path, {**real_command.environment, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    elsewhere.append(await trace(away, first.event.event_id, "--at", at))
    second = await score(agent, minutes_ago=1)
    unread = await trace(real_command, second.event.event_id, "--pattern", NAME)
    await catch_up(real_settings)
    superseded = await trace(real_command, first.event.event_id, "--pattern", NAME)
    of_another = await trace(real_command, second.event.event_id, "--pattern", "another", code=0)

    for found in waiting:
        assert found["state"] == "in_topic"
        assert found["pattern_id"] == str(pattern_id_of(NAME))
        assert found | place == found
    assert (unread["state"], unread["superseded_by"], unread["detail"]) == ("in_topic", None, None)
    assert (current["state"], current | place) == ("current", current)
    assert [(one["state"], one["offset"]) for one in elsewhere] == [("current", None)] * 4
    assert (superseded["state"], superseded | place) == ("superseded", superseded)
    assert superseded["superseded_by"] == str(second.event.event_id)
    assert superseded["superseding_timestamp"] == second.event.measurement_timestamp.isoformat()
    assert of_another["state"] == "current"


async def test_an_event_of_the_history_is_found_with_the_row_that_came_after_it(
    agent: ScorePublisher, real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    first, second = await score(agent, minutes_ago=2), await score(agent, minutes_ago=1)
    await catch_up(real_settings.model_copy(update={"history_enabled": True}))

    found = await trace(real_command, first.event.event_id)

    assert (found["state"], found["superseded_by"]) == ("in_history", str(second.event.event_id))


async def test_a_refused_event_is_found_as_a_dead_letter_whatever_named_it(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    invalid = an_event(1).to_json().replace(b'"confidence":0.9', b'"confidence":7')
    in_value, in_header = json.loads(invalid)["event_id"], str(new_event_id())
    mentioned = str(new_event_id())
    await send(real_settings, [invalid, f'{{"metadata":"{mentioned}"}}'.encode()])
    async with producing(real_settings) as producer:
        headers = [("ce_id", in_header.encode())]
        await producer.send_and_wait(real_settings.kafka_topic, b"no JSON", partition=0, headers=headers)
    not_read = await trace(real_command, in_value)
    await catch_up(real_settings)

    by_value, by_header = await asyncio.gather(trace(real_command, in_value), trace(real_command, in_header))
    not_found = await trace(real_command, mentioned, code=1)

    assert (not_read["state"], not_read["reason"], not_read["offset"]) == ("in_topic", "out_of_range", 0)
    assert (by_value["state"], by_value["reason"], by_value["offset"]) == ("dead_letter", "out_of_range", 0)
    assert (by_header["state"], by_header["reason"], by_header["offset"]) == (
        "dead_letter",
        "invalid_json",
        2,
    )
    assert not_found["state"] == "not_found"


@pytest.mark.parametrize("name", ["parent_event_id", "event_id", "event_ids"])
async def test_an_event_that_another_one_mentions_is_not_found(
    agent: ScorePublisher, real_command: CommandLine, real_settings: WorkerSettings, name: str
) -> None:
    mentioned = new_event_id()
    await agent.publish(
        score_event(pattern=NAME, quality_score=0.5, confidence=1.0, metadata={name: str(mentioned)})
    )
    unread = await trace(real_command, mentioned, code=1)
    await catch_up(real_settings)
    read = await trace(real_command, mentioned, code=1)

    assert unread["state"] == read["state"] == "not_found"


async def test_an_event_that_is_nowhere_exits_1_and_names_what_was_searched(
    agent: ScorePublisher, real_command: CommandLine, tmp_path: Path
) -> None:
    await score(agent)
    absent = score_event(pattern=NAME, quality_score=0.5, confidence=1.0)

    found = await trace(real_command, absent.event_id, "--pattern", NAME, code=1)
    outbox = tmp_path / "outbox.db"
    text = await real_command.run("trace", str(an_event(1).event_id), outbox_path=outbox)

    assert found["state"] == "not_found"
    assert found["searched"][0] == "the current rows, the history, the dead letters"
    assert f" from {datetime.now(UTC).date().isoformat()[:4]}" in found["searched"][1]
    assert (text.code, "from its beginning on" in text.stdout.decode()) == (1, True)
    assert f"the outbox {outbox}" in text.stdout.decode()


async def test_a_row_that_was_deleted_after_its_event_was_read_is_named(
    agent: ScorePublisher, real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    published = await score(agent)
    await catch_up(real_settings)
    await execute(real_settings, "DELETE FROM pattern_quality_metrics")

    found = await trace(real_command, published.event.event_id)

    assert (found["state"], found["offset"]) == ("in_topic", published.offset)
    assert "replay it" in found["detail"]


async def test_an_event_in_the_outbox_is_found_without_any_server(tmp_path: Path) -> None:
    """The command finds it whether it waits, or Kafka refused it."""
    waiting, refused = an_event(1), an_event(2)
    path = tmp_path / "outbox.db"
    command = CommandLine(tmp_path, {"OUTBOX_PATH": str(path)})
    lines = waiting.to_json() + b"\n" + refused.to_json()
    (await command.run("publish", "-", "--outbox", stdin=lines)).succeeded()
    with closing(OutboxFile(path)) as file:
        row = file.find(refused.event_id.bytes)
        assert row is not None
        file.settle([], [(row, "too large")])

    waits, is_refused = await trace(command, waiting.event_id), await trace(command, refused.event_id)

    for found, event in ((waits, waiting), (is_refused, refused)):
        assert found["pattern_id"] == str(event.pattern_id)
        assert found["measurement_timestamp"] == event.measurement_timestamp.isoformat()
    assert (waits["state"], waits["reason"]) == ("outbox", None)
    assert (is_refused["state"], is_refused["reason"]) == ("refused", "too large")
