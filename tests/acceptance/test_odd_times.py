"""Times that other programs wrote and Python cannot hold: every reader shows them, and none fails."""

import json
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson
import pyarrow.parquet
import pytest

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.api.failures import ParameterError
from pattern_metrics.consumer.api.ingestion import read_gaps
from pattern_metrics.consumer.api.letters import LetterReader
from pattern_metrics.consumer.api.patterns import Filter, PatternReader
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, send, worker_settings

ODD = {
    1: "57000-01-01 00:00:00+00",
    2: "infinity",
    3: "-infinity",
    4: "0044-03-15 12:00:00+00 BC",
    5: "294276-12-31 23:59:59.999999+00",
    6: "4714-11-24 00:00:00+00 BC",
}
PINNED = {7: "2100-01-01T00:00:00+00:00"}
IN_FUTURE = [1, 2, 5, 7]

INSERT = """
    INSERT INTO pattern_quality_metrics
        (pattern_id, quality_score, confidence, measurement_timestamp, created_at, updated_at)
    VALUES ('{pattern}', 0.5, 0.5, '{time}', '{time}', '{time}');
    INSERT INTO pattern_quality_history
        (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata,
         created_at)
    VALUES ('{pattern}', gen_random_uuid(), 0.5, 0.5, '{time}', '1', '{{}}', '{time}');
    INSERT INTO dead_letters (topic, partition, "offset", record_timestamp, value, reason, detail, noticed_at)
    VALUES ('t', 0, {number}, 0, 'no JSON', 'invalid_json', '', '{time}');
    INSERT INTO ingest_gaps (consumer_group, topic, partition, first_offset, last_offset, noticed_at)
    VALUES ('{group}', '{topic}', 0, {number}, {number}, '{time}');
"""


@pytest.fixture
async def odd_settings(embedded_broker: Broker, migrated_database_url: str) -> WorkerSettings:
    """The settings of a database with a row of each odd time in each table."""
    topic = await create_topic(embedded_broker.bootstrap_servers)
    settings = worker_settings(embedded_broker.bootstrap_servers, topic, migrated_database_url)
    connection = await asyncpg.connect(migrated_database_url)
    try:
        for number, time in {**ODD, **PINNED}.items():
            await connection.execute(
                INSERT.format(
                    number=number,
                    pattern=UUID(int=number),
                    time=time,
                    topic=topic,
                    group=settings.kafka_group_id,
                )
            )
    finally:
        await connection.close()
    return settings


async def test_no_command_fails_on_a_time_that_python_cannot_hold(
    odd_settings: WorkerSettings, tmp_path: Path
) -> None:
    command = CommandLine(tmp_path, environment_of(odd_settings))

    exported = (await command.run("export", "-")).succeeded()
    (await command.run("export", "rows.csv")).succeeded()
    parquet = (await command.run("export", "rows.parquet")).succeeded()
    status = (await command.run("status", "--json")).succeeded()
    screen = (await command.run("status")).succeeded()
    listed = (await command.run("dead-letters", "list", "--json")).succeeded()
    (await command.run("dead-letters", "list")).succeeded()
    for number, time in ODD.items():
        assert time in (await command.run("dead-letters", "show", f"t/0/{number}")).stdout.decode()
    redriven = await command.run("dead-letters", "redrive", "--all", "--json")
    pruned = (await command.run("history", "prune", "--older-than", "90d", "--json")).succeeded()

    times = [json.loads(line)["measurement_timestamp"] for line in exported.stdout.splitlines()]
    assert times == [*ODD.values(), *PINNED.values()]
    assert all(f"{time}," in (tmp_path / "rows.csv").read_text() for time in ODD.values())
    columns = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    nulls = sum(columns[name].count(None) for name in ("measurement_timestamp", "updated_at"))
    assert nulls == 2 * len(ODD)
    assert f"{nulls} times outside of the years 1 to 9999 are null in the file" in parquet.stderr
    assert "null in the file" not in exported.stderr
    assert status.json["last_write"] == "infinity"
    assert b"last write infinity" in screen.stdout
    assert [json.loads(line)["noticed_at"] for line in listed.stdout.splitlines()][:2] == [ODD[2], ODD[5]]
    assert redriven.json["dead_letters"] == len(ODD) + len(PINNED)
    assert pruned.json["pruned"] == 3  # those before today

    for file, content in (
        ("rows.jsonl", exported.stdout),
        ("rows.csv", (tmp_path / "rows.csv").read_bytes()),
    ):
        (tmp_path / file).write_bytes(content)
        refused = await command.run("backfill", file, "--dry-run")
        assert refused.code == 1
        assert refused.stderr.count("measurement_timestamp: is not an RFC 3339") == len(ODD)
        assert refused.stderr.count("timestamp_in_future") == len(PINNED)


async def test_verify_fails_for_rows_of_the_future_and_names_them(
    odd_settings: WorkerSettings, tmp_path: Path
) -> None:
    command = CommandLine(tmp_path, environment_of(odd_settings))
    await send(odd_settings, [an_event(number).to_json() for number in (*ODD, *PINNED)])

    caught_up = (await command.run("consume", "--until-caught-up", "--json")).succeeded()
    verified = await command.run("verify", "--json")
    compared = await command.run("verify", "--against-topic")

    assert (caught_up.json["applied"], caught_up.json["superseded"]) == (3, 4)  # the past ones are superseded
    assert verified.code == compared.code == 1
    [check] = [check for check in verified.json["checks"] if not check["passed"]]
    assert check["name"] == "no measurement is in the future"
    assert check["detail"].startswith("4 lie more than 300 s ahead; ")
    for number in IN_FUTURE:
        assert str(UUID(int=number)) in check["detail"]
    assert "infinity" in check["detail"]
    assert b"FAILED no measurement is in the future" in compared.stdout
    assert b"the table is the fold of the topic (read 7" in compared.stdout, "it is compared all the same"


async def test_the_page_shows_times_that_python_cannot_hold(odd_settings: WorkerSettings) -> None:
    database = Database(odd_settings.database_url.get_secret_value())
    reader, letters = PatternReader(database), LetterReader(database)
    try:
        shown = [await reader.distribution(), await read_gaps(database), await reader.most_changed(10)]
        for order in ("newest", "oldest", "name"):
            shown.append(await reader.page(order, Filter(), None, 50))
            following = (await reader.page(order, Filter(), None, limit=2))["next"]
            shown.append(await reader.page(order, Filter(), following, 50))
            assert len(shown[-1]["rows"]) == len(ODD) + len(PINNED) - 2
        for number, time in ODD.items():
            pattern = await reader.pattern(UUID(int=number))
            letter = await letters.letter("t", 0, number, 0)
            assert pattern is not None
            assert letter is not None
            assert letter["noticed_at"] == time
            after = json.dumps([time, "t", 0, number, 0])
            shown += [pattern, letter, await letters.page(None, None, after, 50)]
        with pytest.raises(ParameterError, match="the parameter after is not valid"):
            await letters.page(None, None, json.dumps(["infinity or so", "t", 0, 1, 0]), 50)
    finally:
        database.close()

    assert orjson.dumps(shown, default=str)
