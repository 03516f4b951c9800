"""From a file or a pipe to the table."""

import json
import random
from pathlib import Path

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import PROGRAM, CommandLine
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, dead_letters, expected_table, fetch, send, table
from tests.support.topics import configure


def unnamed(event: PatternScored) -> bytes:
    """Return the event without event_id, as some agents write it."""
    return json.dumps(event.model_dump(mode="json", exclude={"event_id"})).encode()


async def test_a_file_arrives_but_for_its_invalid_line_which_is_named(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    events = [an_event(pattern, score=pattern / 10) for pattern in range(1, 6)]
    lines = [event.to_json() for event in events[:4]]
    lines.insert(2, events[0].to_json().replace(b'"quality_score":0.1', b'"quality_score":1.1'))
    lines.append(unnamed(events[4]))
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\n")

    tried = await command.run("publish", "--dry-run", file, "--json")
    nothing = (await command.run("consume", "--until-caught-up", "--json")).succeeded()
    published = await command.run("publish", file, "--json")
    consumed = (await command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert (tried.code, tried.json, tried.stderr) == (1, published.json, published.stderr)
    assert nothing.json["read"] == 0
    assert published.code == 1
    assert "line 3: out_of_range: quality_score" in published.stderr
    assert "Traceback" not in published.stderr
    assert published.json == {
        "published": 5,
        "refused": 1,
        "unavailable": 0,
        "last_line": 6,
        "reached_end": True,
    }
    assert consumed.json == {"read": 5, "applied": 5, "superseded": 0, "dead_letters": 0}
    rows = await table(settings)
    assert {pattern: row[2] for pattern, row in rows.items()} == {
        event.pattern_id: event.quality_score for event in events
    }
    assert {row[1] for row in rows.values()} >= {event.event_id for event in events[:4]}


async def test_a_file_published_twice_adds_no_measurement_and_writes_no_row(
    command: CommandLine, settings: WorkerSettings
) -> None:
    file = b"\n".join([an_event(1).to_json(), unnamed(an_event(2)), unnamed(an_event(3))])
    rows = "SELECT *, xmin::text FROM pattern_quality_metrics ORDER BY pattern_id"

    async with command.worker() as worker:
        first = (await command.run("publish", "-", stdin=file)).succeeded()
        await worker.wait_until_read(3)
        before = await fetch(settings, rows)
        (await command.run("publish", "-", stdin=file)).succeeded()
        await worker.wait_until_read(6)

    assert first.stdout == b"published 3 events, refused 0 lines\n"
    assert len(before) == 3
    assert await fetch(settings, rows) == before


async def test_a_broker_without_idempotence_is_reported_in_one_line(
    tmp_path: Path, embedded_broker: Broker
) -> None:
    servers = embedded_broker.bootstrap_servers
    topic = await create_topic(servers)
    command = CommandLine(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TOPIC": topic})

    published = await command.run("publish", "-", stdin=an_event(1).to_json())

    assert published.code == 2
    assert "KAFKA_ENABLE_IDEMPOTENCE=false" in published.stderr
    assert published.report.count("\n") == 1


async def test_the_accounting_adds_up_and_no_record_is_read_again(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    events = [an_event(pattern, seconds) for pattern in range(3) for seconds in (1, 2, 0)]
    poison = [b"not JSON", b"[]"]
    await send(real_settings, [event.to_json() for event in events] + poison, partition=1)

    consumed = (await real_command.run("consume", "--until-caught-up")).succeeded()
    again = (await real_command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert consumed.stdout == b"read 11 = applied 3 + superseded 6 + dead letters 2\n"
    assert again.json == {"read": 0, "applied": 0, "superseded": 0, "dead_letters": 0}
    assert await table(real_settings) == expected_table(events)
    assert [value for value, _ in await dead_letters(real_settings)] == poison


async def test_code_is_scored_published_and_consumed_through_a_pipe(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "good.py").write_text('def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n')
    (code / "bad.py").write_text("def broken(:\n")

    scored = await command.run("score", code)
    pipe = f"{PROGRAM} score {code} | {PROGRAM} publish -"
    piped = (await command.run_program("/bin/sh", "-c", pipe)).succeeded()
    (await command.run("consume", "--until-caught-up")).succeeded()

    assert scored.code == 1
    assert "bad.py" in scored.stderr
    assert "1 of 2 files could not be read" in scored.stderr
    [event] = [PatternScored.model_validate_json(line) for line in scored.stdout.splitlines()]
    assert piped.stdout == b"published 1 events, refused 0 lines\n"
    [row] = await fetch(settings, "SELECT pattern_id, quality_score FROM pattern_quality_metrics")
    assert tuple(row) == (event.pattern_id, event.quality_score)


async def test_a_brokers_refusal_is_named_and_the_report_shows_the_last_line(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    large = an_event(2, metadata={"noise": random.Random(17).randbytes(4000).hex()})
    file = an_event(1).to_json() + b"\n" + large.to_json()
    await configure(real_settings, {"max.message.bytes": "2000"})

    published = await real_command.run("publish", "-", "--json", stdin=file)

    assert published.code == 1
    assert "Traceback" not in published.stderr
    assert "line 2: refused by the broker: larger than the topic's max.message.bytes" in published.stderr
    assert published.json == {
        "published": 1,
        "refused": 1,
        "unavailable": 0,
        "last_line": 2,
        "reached_end": True,
    }
