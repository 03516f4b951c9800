"""The vectors of `schemas/vectors.jsonl`, read by the worker from Kafka and by `backfill` from a file."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.letters import rows
from tests.support.pipeline import catch_up, fetch, send
from tests.support.vectors import Vector, vectors

STORED = """
SELECT to_jsonb(rows) FROM (
    SELECT pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata
    FROM pattern_quality_metrics
) AS rows
UNION ALL
SELECT to_jsonb(rows) FROM (
    SELECT pattern_id, event_id, retired_at, reason, retirement_metadata AS metadata
    FROM pattern_quality_retired
) AS rows
"""
LETTERS = 'SELECT "offset", reason FROM dead_letters ORDER BY "offset"'

Table = dict[str, dict[str, Any]]


def table(found: Iterable[dict[str, Any]]) -> Table:
    """Return the rows of both tables by pattern, their times parsed."""
    return {
        row["pattern_id"]: {
            name: datetime.fromisoformat(value) if name in {"measurement_timestamp", "retired_at"} else value
            for name, value in row.items()
        }
        for row in found
    }


def expected(accepted: Iterable[Vector]) -> Table:
    return table(vector.row for vector in accepted if vector.row is not None)


async def stored(url: str) -> Table:
    return table(json.loads(row) for (row,) in await rows(url, STORED))


async def test_the_worker_gives_each_vector_its_verdict_and_its_row(real_settings: WorkerSettings) -> None:
    await send(real_settings, [vector.value for vector in vectors()])

    accounting = await catch_up(real_settings)

    accepted = [vector for vector in vectors() if vector.verdict == "accepted"]
    letters = await fetch(real_settings, LETTERS)
    assert {vectors()[letter["offset"]].name: letter["reason"] for letter in letters} == {
        vector.name: vector.reason for vector in vectors() if vector.verdict == "refused"
    }
    assert await stored(real_settings.database_url.get_secret_value()) == expected(accepted)
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
    own, found = expected(lines), await stored(migrated_database_url)
    assert reported == refused
    assert run.json["dead_letters"] == len(refused)
    assert {pattern: row for pattern, row in found.items() if pattern in own} == own
    assert len(found) == len(lines) - len(refused) > len(own)
