"""History, roles and export from the command line."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, execute, fetch

HISTORY = "SELECT pattern_id, measurement_timestamp FROM pattern_quality_history"


async def history(settings: WorkerSettings) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in await fetch(settings, HISTORY)}


async def test_every_command_that_writes_keeps_the_history_if_it_is_enabled(
    command: CommandLine, settings: WorkerSettings
) -> None:
    events = [an_event(number % 3, seconds=number) for number in range(9)]
    (await command.run("publish", "-", stdin=b"\n".join(event.to_json() for event in events))).succeeded()
    (await command.run("consume", "--until-caught-up")).succeeded()
    assert await history(settings) == set(), "without HISTORY_ENABLED there is none"

    (await command.run("replay", history_enabled=True)).succeeded()
    replayed = await history(settings)
    await execute(settings, "TRUNCATE pattern_quality_history")
    (
        await command.run(
            "consume",
            "--until-caught-up",
            history_enabled=True,
            kafka_group_id="another",
        )
    ).succeeded()
    consumed = await history(settings)
    line = an_event(1, seconds=100).to_json()
    (await command.run("backfill", "-", stdin=line, history_enabled=True)).succeeded()

    assert replayed == consumed == {(event.pattern_id, event.measurement_timestamp) for event in events}
    assert len(await history(settings)) == len(events) + 1


async def test_the_history_is_pruned_by_age(command: CommandLine, settings: WorkerSettings) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(days=days) for days in (400, 91, 89, 0)]
    lines = b"\n".join(an_event(1, measurement_timestamp=now - age).to_json() for age in ages)
    (await command.run("backfill", "-", stdin=lines, history_enabled=True)).succeeded()

    pruned = (await command.run("history", "prune", "--older-than", "90d", "--json")).succeeded()
    again = (await command.run("history", "prune", "--older-than", "90d")).succeeded()

    assert pruned.json == {"pruned": 2}
    assert again.stdout == b"pruned 0 measurements\n"
    assert len(await history(settings)) == 2
    assert len(await fetch(settings, "SELECT FROM pattern_quality_metrics")) == 1
    assert (await command.run("history", "prune")).code == 2


async def test_a_worker_runs_as_a_member_of_its_role_and_a_reader_exports_as_one(
    command: CommandLine, settings: WorkerSettings
) -> None:
    await execute(settings, LOGINS)
    url = settings.database_url.get_secret_value()
    as_worker, as_reader = (url.replace("postgres@", f"{login}@") for login in ("a_worker", "a_reader"))
    lines = an_event(1).to_json() + b"\nno event"
    assert (await command.run("publish", "-", stdin=lines)).code == 1

    (await command.run("consume", "--check", database_url=as_worker)).succeeded()
    checked = await command.run("consume", "--check", database_url=as_reader)
    in_role = f"{url}?role=pattern_metrics_worker"  # as in docker-compose.yml
    consumed = (
        await command.run(
            "consume", "--until-caught-up", "--json", database_url=in_role, history_enabled=True
        )
    ).succeeded()
    (await command.run("verify", "--against-topic", database_url=as_worker)).succeeded()
    (await command.run("replay", "--dry-run", database_url=as_worker)).succeeded()
    (await command.run("status", database_url=as_reader)).succeeded()
    exported = (await command.run("export", database_url=as_reader)).succeeded()
    refused = await command.run("backfill", "-", stdin=an_event(2).to_json(), database_url=as_reader)

    assert checked.code == 2
    assert "INSERT on dead_letters" in checked.stderr
    assert "pattern_metrics_worker" in checked.stderr
    assert consumed.json["applied"] == 1
    assert exported.json["pattern_id"] == str(an_event(1).pattern_id)
    assert refused.code == 2
    assert "permission denied" in refused.stderr
    assert refused.report.count("\n") == 1
    assert refused.stderr.startswith("database ")
    assert len(await history(settings)) == 1


LOGINS = """
    DO $$
    BEGIN
        CREATE ROLE a_worker LOGIN IN ROLE pattern_metrics_worker;
        CREATE ROLE a_reader LOGIN IN ROLE pattern_metrics_reader;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- created by this test with the other broker, because roles belong to the whole server
    END $$
"""


async def test_an_export_is_selected_formatted_and_whole_or_absent(
    command: CommandLine, tmp_path: Path
) -> None:
    scores = {1: 0.95, 2: 0.75, 3: 0.7, 4: 0.2}
    lines = b"\n".join(an_event(pattern, score=score).to_json() for pattern, score in scores.items())
    (await command.run("backfill", "-", stdin=lines)).succeeded()

    whole = (await command.run("export")).succeeded()
    good = (await command.run("export", "--format", "csv", "--band", "good")).succeeded()
    best = (await command.run("export", "--min-quality", "0.9", "-")).succeeded()
    (tmp_path / "all.parquet").touch(mode=0o600)
    (await command.run("export", "--format", "parquet", tmp_path / "all.parquet")).succeeded()
    piped = (await command.run("export", "--format", "parquet")).succeeded()
    absent = await command.run("export", tmp_path / "no such directory" / "x")
    unreachable = await command.run(
        "export", tmp_path / "unreachable.jsonl", database_url="postgresql://nobody@127.0.0.1:1/none"
    )

    assert [json.loads(line)["quality_score"] for line in whole.stdout.splitlines()] == [*scores.values()]
    assert whole.stderr.endswith("exported 4 patterns\n")
    assert [line.split(b",")[3] for line in good.stdout.splitlines()] == [b"band", b"good", b"good"]
    assert best.json["band"] == "excellent"
    assert (tmp_path / "all.parquet").read_bytes() == piped.stdout
    assert (tmp_path / "all.parquet").stat().st_mode & 0o777 == 0o600
    assert piped.stdout[:4] == piped.stdout[-4:] == b"PAR1"
    assert (absent.code, unreachable.code) == (1, 1)
    assert [absent.stderr.count("\n"), unreachable.stderr.count("\n")] == [1, 1]
    assert written(tmp_path) == ["all.parquet"]


def written(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.*"))


@pytest.mark.parametrize("options", [["--format", "xml"], ["--band", "best"], ["--min-quality", "2"]])
async def test_an_impossible_selection_is_wrong_usage(command: CommandLine, options: list[str]) -> None:
    assert (await command.run("export", *options)).code == 2
