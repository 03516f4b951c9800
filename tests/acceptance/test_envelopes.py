"""Events in a company's own envelope, through every command that reads records of the topic."""

import json
from dataclasses import replace
from pathlib import Path

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, expected_table, fetch, send, table


def enclosed(event: bytes) -> bytes:
    return b'{"event_type":"scored","correlation_id":"7","body":{"payload":%b}}' % event


def reading_envelopes(command: CommandLine) -> CommandLine:
    return replace(command, environment={**command.environment, "KAFKA_ENVELOPE_FIELD": "body.payload"})


async def test_each_command_that_reads_the_topic_reads_events_in_an_envelope(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    reading = reading_envelopes(command)
    events = [an_event(number) for number in range(50)]
    bare = an_event(90)
    await send(settings, [*(enclosed(event.to_json()) for event in events), bare.to_json()])

    without = (await command.run("consume", "--until-caught-up", "--json")).succeeded()
    redriven = await reading.run("dead-letters", "redrive", "--all", "--json")
    exported = (await reading.run("dead-letters", "export", tmp_path / "letters.jsonl")).succeeded()
    replayed = (await reading.run("replay", "--json")).succeeded()
    verified = await reading.run("verify", "--against-topic")

    assert without.json == {"read": 51, "applied": 1, "superseded": 0, "dead_letters": 50}
    assert redriven.json == {"read": 50, "applied": 50, "superseded": 0, "dead_letters": 0}
    assert exported.stderr.startswith("exported 0 values")
    assert replayed.json == {"read": 51, "applied": 0, "superseded": 50, "dead_letters": 1}
    assert await table(settings) == expected_table([*events, bare])
    assert verified.code == 0, verified.stderr
    [letter] = await fetch(settings, "SELECT reason, detail FROM dead_letters WHERE status = 'open'")
    assert letter["reason"] == "missing_field"
    assert letter["detail"] == "body: is missing, and KAFKA_ENVELOPE_FIELD is body.payload"


async def test_a_worker_reads_an_envelope_and_its_letters_are_exported_without_it(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    reading = reading_envelopes(command)
    right, wrong = an_event(1), an_event(2).to_json().replace(b'"confidence":0.9', b'"confidence":9')
    await send(settings, [enclosed(right.to_json()), enclosed(wrong)])

    consumed = (await reading.run("consume", "--until-caught-up", "--json")).succeeded()
    (await reading.run("dead-letters", "export", tmp_path / "letters.jsonl")).succeeded()

    assert consumed.json == {"read": 2, "applied": 1, "superseded": 0, "dead_letters": 1}
    assert await table(settings) == expected_table([right])
    assert json.loads((tmp_path / "letters.jsonl").read_bytes()) == json.loads(wrong)
