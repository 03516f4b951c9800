"""The tool that publishes, with a broker and without."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr

from pattern_metrics.consumer.operations.trace import State, trace_in_outbox
from pattern_metrics.consumer.settings import McpSettings
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.schemas.pattern_id import pattern_id_of
from tests.support.kafka import Broker, create_topic
from tests.support.mcp import connected_model, mcp_settings
from tests.support.pipeline import catch_up, table, worker_settings

SCORE = {"pattern": "shop:total", "quality_score": 0.4, "confidence": 0.9}


async def settings_of(broker: Broker, database_url: str) -> McpSettings:
    topic = await create_topic(broker.bootstrap_servers)
    return mcp_settings(database_url, kafka_bootstrap_servers=broker.bootstrap_servers, kafka_topic=topic)


def statuses(answer: dict[str, Any]) -> list[str]:
    return [result["status"] for result in answer["results"]]


async def test_valid_scores_reach_the_table_beside_refused_ones_and_a_repeat_adds_nothing(
    mode: str, embedded_broker: Broker, migrated_database_url: str
) -> None:
    settings = await settings_of(embedded_broker, migrated_database_url)
    scores = [
        SCORE,
        {**SCORE, "quality_score": 1.5},
        {**SCORE, "pattern": str(UUID(int=7)), "dimensions": {"tone": 0.1}, "metadata": {"x": 1}},
        {**SCORE, "pattern": ""},
        {"pattern": "a"},
        "no score",
        {**SCORE, "pattern": "timed", "measured_at": "2026-01-01T00:00:00Z", "event_id": str(UUID(int=1))},
        {**SCORE, "pattern": "late", "measured_at": "2026-01-01"},
    ]
    worker = worker_settings(settings.kafka_bootstrap_servers, settings.kafka_topic, migrated_database_url)
    settings = settings.model_copy(update={"kafka_group_id": worker.kafka_group_id})
    async with connected_model(settings, is_read_only=False, mode=mode) as model:
        first = await model.ask("publish_scores", scores=scores)
        second = await model.ask("publish_scores", scores=scores)
        before = await model.ask("ingest_status")

    assert first == second
    assert (first["accepted"], first["refused"], first["unacknowledged"]) == (3, 5, 0)
    assert (first["durable"], first["note"]) == ("kafka", None)
    assert [result["reason"] for result in first["results"]] == [
        *(None, "out_of_range", None, "invalid_field", "missing_field", "not_an_object", None),
        "invalid_field",
    ]
    assert (before["patterns"], before["newest_row"]) == (0, None)
    assert before["lag"] > 0
    accounting = await catch_up(worker)
    rows = await table(worker)
    assert accounting.dead_letters == 0
    assert rows.keys() == {pattern_id_of("shop:total"), UUID(int=7), pattern_id_of("timed")}
    assert str(rows[pattern_id_of("shop:total")][1]) == first["results"][0]["event_id"]
    async with connected_model(settings) as model:
        named = await model.ask("pattern_quality", pattern="shop:total", metadata=True)
        by_id = await model.ask("pattern_quality", pattern=str(UUID(int=7)), metadata=True)
        status = await model.ask("ingest_status")
    assert json.loads(named["untrusted"]) == {"name": "shop:total"}
    assert json.loads(by_id["untrusted"]) == {"x": 1, "dimensions": {"tone": 0.1}}
    assert (status["patterns"], status["dead_letters"], status["problems"]) == (3, {}, [])
    assert status["newest_row"] is not None
    assert status["lag"] == 0


async def test_while_the_broker_is_away_the_outbox_takes_scores_and_the_answer_says_so(
    mode: str, migrated_database_url: str, tmp_path: Path
) -> None:
    settings = mcp_settings(migrated_database_url, outbox_path=tmp_path / "outbox")
    async with connected_model(settings, is_read_only=False, mode=mode) as model:
        answer = await model.ask("publish_scores", scores=[SCORE, {"pattern": "a"}])
        status = await model.ask("ingest_status")

    assert (answer["durable"], answer["accepted"], answer["refused"]) == ("local", 1, 1)
    assert answer["note"] == "the broker is away: 1 events wait in the outbox"
    assert (status["outbox_waiting"], status["outbox_refused"], status["lag"]) == (1, 0, None)
    file = OutboxFile(tmp_path / "outbox")
    found = trace_in_outbox(file, UUID(answer["results"][0]["event_id"]))
    file.close()
    assert found is not None
    assert (found.state, found.pattern_id) == (State.OUTBOX, pattern_id_of("shop:total"))


async def test_the_outbox_is_delivered_once_the_broker_is_back(
    embedded_broker: Broker, migrated_database_url: str, tmp_path: Path
) -> None:
    settings = await settings_of(embedded_broker, migrated_database_url)
    away = settings.model_copy(
        update={"outbox_path": tmp_path / "outbox", "kafka_bootstrap_servers": "127.0.0.1:1"}
    )
    async with connected_model(away, is_read_only=False) as model:
        assert (await model.ask("publish_scores", scores=[SCORE]))["durable"] == "local"
    back = settings.model_copy(update={"outbox_path": tmp_path / "outbox"})
    async with connected_model(back, is_read_only=False) as model:
        assert (await model.ask("publish_scores", scores=[{**SCORE, "pattern": "b"}]))["durable"] == "kafka"

    worker = worker_settings(settings.kafka_bootstrap_servers, settings.kafka_topic, migrated_database_url)
    await catch_up(worker)
    assert (await table(worker)).keys() == {pattern_id_of("shop:total"), pattern_id_of("b")}


async def test_without_an_outbox_scores_are_unacknowledged_and_a_repeat_is_a_retry(mode: str) -> None:
    settings = mcp_settings(SecretStr("postgresql://hunter2:hunter2@127.0.0.1:1/none").get_secret_value())
    async with connected_model(settings, is_read_only=False, mode=mode) as model:
        first = await model.ask("publish_scores", scores=[SCORE, {**SCORE, "pattern": str(uuid4())}])
        second = await model.ask("publish_scores", scores=[SCORE])

    assert statuses(first) == ["unacknowledged"] * 2
    assert first["unacknowledged"] == 2
    assert second["results"] == first["results"][:1]
    assert first["results"][0]["detail"] == "not reachable; waiting for it"
