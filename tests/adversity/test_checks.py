"""A check that cannot fail proves nothing, so each check is shown a violation."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.adversity import checks
from tests.adversity.checks import Violation, check, require_accounts
from tests.adversity.world import World
from tests.support.command import WorkerProcess
from tests.support.pipeline import fetch
from tests.support.waiting import eventually

PARTS = 5


@asynccontextmanager
async def noticed(world: World, what: str) -> AsyncIterator[None]:
    """Check that the change which the block makes is noticed."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "RECOVERY_SECONDS_MAX", 2)
        with pytest.raises(Violation, match=what):
            await check(world)


async def test_each_violation_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await eventually(lambda: world.load.parts >= PARTS)
    await world.load.pause()
    await check(world)

    pattern, row = next(iter(world.load.fold.items()))
    async with noticed(world, r"1 differ, 0 are missing or older"):
        world.load.fold[pattern] = (row[0], row[1], row[2] - 1)
    async with noticed(world, r"1 differ, 1 are missing or older"):
        world.load.fold[pattern] = (row[0].replace(year=2999), row[1], row[2])
    world.load.fold[pattern] = row
    async with noticed(world, "not within"):  # ahead of the log; workers repair what is behind
        await world.execute("UPDATE ingest_progress SET next_offset = next_offset + 1 WHERE partition = 0")
    await world.execute("UPDATE ingest_progress SET next_offset = next_offset - 1 WHERE partition = 0")
    await check(world)

    letter = next(iter(world.load.letters))
    async with noticed(world, "dead letter"):
        world.load.letters[letter] += 1
    world.load.letters[letter] -= 2
    async with noticed(world, "dead letter"):
        pass
    world.load.letters_maybe[letter] = 1
    await check(world)

    async with noticed(world, "steps_back"):
        await _step_back_and_forth(world)
    await world.execute("TRUNCATE steps_back")
    async with noticed(world, "ingest_gaps"):
        await world.execute("INSERT INTO ingest_gaps VALUES ('group', 'topic', 0, 1, 2)")
    await world.execute("TRUNCATE ingest_gaps")
    monkeypatch.setattr(checks, "RESIDENT_BYTES_MAX", 1)
    async with noticed(world, "bytes"):
        pass
    async with noticed(world, "ended by itself"):
        await world.members[0].worker.kill()


async def _step_back_and_forth(world: World) -> None:
    first = "(SELECT pattern_id FROM pattern_quality_metrics ORDER BY 1 LIMIT 1)"
    interval = f"interval '1 s' WHERE pattern_id = {first}"
    update = "UPDATE pattern_quality_metrics SET measurement_timestamp = measurement_timestamp"
    await world.execute(f"{update} - {interval}", f"{update} + {interval}")
    assert len(await fetch(world.settings, "SELECT * FROM steps_back")) == 1


@pytest.mark.parametrize(
    "lines",
    [
        [("batch_written", 3, 1, 1, 0)],
        [("batch_written", 3, 1, 1, 1), ("worker_stopped", 3, 1, 1, 0)],
        [("batch_written", 3, 1, 1, 1), ("worker_stopped", 2, 0, 1, 1)],
    ],
)
async def test_numbers_that_do_not_add_up_are_noticed(
    lines: list[tuple[str, int, int, int, int]], tmp_path: Path
) -> None:
    names = ("event", "read", "applied", "superseded", "dead_letters")
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(dict(zip(names, line, strict=True))) + "\n" for line in lines))

    with pytest.raises(Violation):
        require_accounts(WorkerProcess(await _ended_process(), log))


async def _ended_process() -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    return process
