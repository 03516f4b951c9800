"""The vectors of `schemas/vectors.jsonl`, read by the worker from Kafka and by `backfill` from a file."""

import json
from pathlib import Path
from typing import Any

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.letters import rows
from tests.support.pipeline import catch_up, fetch, send
from tests.support.vectors import Vector, vectors

COLUMNS = "pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata"
STORED = f"SELECT {COLUMNS} FROM pattern_quality_metrics"
LETTERS = 'SELECT "offset", reason FROM dead_letters ORDER BY "offset"'


def table(found: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the rows by pattern, their metadata parsed."""
    by_name = [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in found]
    return {str(row["pattern_id"]): row | {"metadata": json.loads(row["metadata"])} for row in by_name}


def expected(accepted: list[Vector]) -> dict[str, dict[str, Any]]:
    return {str(row["pattern_id"]): row for row in (vector.stored for vector in accepted) if row}


async def test_the_worker_gives_each_vector_its_verdict_and_its_row(real_settings: WorkerSettings) -> None:
    await send(real_settings, [vector.value for vector in vectors()])

    accounting = await catch_up(real_settings)

    accepted = [vector for vector in vectors() if vector.verdict == "accepted"]
    letters = await fetch(real_settings, LETTERS)
    assert {vectors()[letter["offset"]].name: letter["reason"] for letter in letters} == {
        vector.name: vector.reason for vector in vectors() if vector.verdict == "refused"
    }
    assert table([tuple(row) for row in await fetch(real_settings, STORED)]) == expected(accepted)
    assert accounting == Accounting(applied=len(accepted), dead_letters=len(letters))


async def test_backfill_gives_each_line_the_verdict_of_its_vector(
    database_command: CommandLine, migrated_database_url: str, tmp_path: Path
) -> None:
    lines = [vector for vector in vectors() if vector.is_a_line]
    file = tmp_path / "vectors.jsonl"
    file.write_bytes(b"".join(b"%b\n" % vector.value for vector in lines if vector.value))

    run = await database_command.run("backfill", file, "--json")

    refused = {
        f"line {number}: {vector.reason}:"
        for number, vector in enumerate(lines, start=1)
        if vector.line == "refused"
    }
    reported = {" ".join(line.split()[:3]) for line in run.stderr.splitlines() if line.startswith("line ")}
    stored = table(await rows(migrated_database_url, STORED))
    own = expected(lines)
    assert reported == refused
    assert run.json["dead_letters"] == len(refused)
    assert {pattern: row for pattern, row in stored.items() if pattern in own} == own
    assert len(stored) == len(lines) - len(refused) > len(own)
