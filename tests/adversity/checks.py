"""Checks of everything that must be true after each round."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from aiokafka import TopicPartition

from pattern_metrics.consumer.kafka.broker import require_topic, topic_id
from pattern_metrics.consumer.kafka.clients import create_reader
from pattern_metrics.consumer.settings import WorkerSettings
from tests.adversity.load import Letter, Load, Row
from tests.adversity.world import Member, World
from tests.support.command import WorkerProcess
from tests.support.pipeline import fetch, states
from tests.support.waiting import eventually

RECOVERY_SECONDS_MAX: Final = 180.0
"""A call that does not return is given up after two minutes, and the next client follows within 30 s."""

RESIDENT_BYTES_MAX: Final = 256 * 1024 * 1024
"""Most memory of a worker with batches of this size, after any number of rounds."""

_ACCOUNTS: Final = ("applied", "superseded", "dead_letters")

_LETTERS: Final = "SELECT coalesce(md5(value), ''), reason, count(*) FROM dead_letters GROUP BY 1, 2"


class Violation(Exception):  # noqa: N818 - the error is in the system under test
    """Something that must always be true is false."""


async def check(world: World) -> None:
    """Check everything, while the producer pauses.

    Raises:
        Violation: names the property that does not hold.
    """
    await require_settled(world)
    await require_nothing_lost(world.settings, world.load)
    for member in world.members:
        require_bounded_memory(member)


async def require_settled(world: World) -> None:
    """Check that the table becomes the fold of all acknowledged events and progress reaches the log's end."""

    await _require_eventually(world, lambda: is_settled(world.settings, world.load))


async def is_settled(settings: WorkerSettings, load: Load) -> bool:
    """Return whether the table is the fold, and progress is at the log's end."""
    return await states(settings) == load.fold and await _progress_is_at_the_end(settings)


async def is_held(rows: Mapping[UUID, Row], settings: WorkerSettings) -> bool:
    """Return whether the table holds these rows, or newer ones."""
    return not _behind(rows, await states(settings))


async def require_held(world: World, rows: Mapping[UUID, Row]) -> None:
    """Check that the table comes to hold these rows, or newer ones. The producer may continue."""

    await _require_eventually(world, lambda: is_held(rows, world.settings))


async def _require_eventually(world: World, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition of the table, as long as all workers run."""

    async def is_true() -> bool:
        return any(not member.worker.is_running for member in world.members) or await condition()

    try:
        await eventually(is_true, deadline_seconds=RECOVERY_SECONDS_MAX, poll_seconds=0.2)
    except AssertionError as error:
        rows = await states(world.settings)
        differing = sum(rows.get(pattern) != row for pattern, row in world.load.fold.items())
        raise Violation(
            f"not within {RECOVERY_SECONDS_MAX:g} s: of {len(world.load.fold)} rows {differing} differ, "
            f"{len(_behind(world.load.fold, rows))} are missing or older"
        ) from error
    for member in world.members:
        require_running(member)


def _behind(rows: Mapping[UUID, Row], present: Mapping[UUID, Row]) -> list[UUID]:
    return [pattern for pattern, row in rows.items() if pattern not in present or present[pattern] < row]


async def _progress_is_at_the_end(settings: WorkerSettings) -> bool:
    of_topic = "SELECT partition, next_offset FROM ingest_progress WHERE topic_id = $1"
    rows = await fetch(settings, of_topic, await topic_id(settings))
    async with create_reader(settings) as reader:
        count = await require_topic(settings)
        ends = await reader.end_offsets([TopicPartition(settings.kafka_topic, n) for n in range(count)])
    at = {row["partition"]: row["next_offset"] for row in rows}
    return all(at.get(partition.partition) == end for partition, end in ends.items())


async def require_nothing_lost(settings: WorkerSettings, load: Load) -> None:
    """In a settled state, check that each dead letter exists once, and that no row went backwards."""
    require_letters(await _letters(settings), load)
    await require_empty(settings, "steps_back")
    await require_empty(settings, "ingest_gaps")  # nothing was ever removed before it was read


async def _letters(settings: WorkerSettings) -> Counter[Letter]:
    return Counter({(md5, reason): count for md5, reason, count in await fetch(settings, _LETTERS)})


def require_letters(found: Mapping[Letter, int], load: Load) -> None:
    """Check that each dead letter exists once, none is missing, and none was not sent."""
    for letter in found.keys() | load.letters.keys():
        least = load.letters[letter]
        most = least + load.letters_maybe[letter]
        if not least <= found.get(letter, 0) <= most:
            raise Violation(f"dead letter {letter}: {found.get(letter, 0)}, not {least} to {most}")


async def require_empty(settings: WorkerSettings, name: str) -> None:
    """Check that a table is empty."""
    rows = await fetch(settings, f"SELECT * FROM {name} LIMIT 3")
    if rows:
        raise Violation(f"{name} holds {[dict(row) for row in rows]}")


def require_running(member: Member) -> None:
    """Check that the process did not end by itself."""
    if not member.worker.is_running:
        code = member.worker.process.returncode
        raise Violation(f"{member.name} ended by itself with {code}; see {member.worker.log}")


def require_bounded_memory(member: Member) -> None:
    """Check that its memory never exceeded the limit."""
    peak = peak_bytes(member.worker)
    if peak > RESIDENT_BYTES_MAX:
        raise Violation(f"{member.name} held {peak:,} bytes")


def peak_bytes(worker: WorkerProcess) -> int:
    """Return the peak of resident memory of a running worker."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    [kibibytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kibibytes) * 1024


def require_accounts(worker: WorkerProcess) -> None:
    """Check that the numbers add up in each log line of an ended worker, and in its last line.

    A written batch has no line if the commit after it was given up. The last line counts it.
    """
    batches, ends = worker.events("batch_written"), worker.events("worker_stopped")
    for line in (*batches, *ends):
        if line["read"] != sum(line[name] for name in _ACCOUNTS):
            raise Violation(f"{worker.log} does not add up: {line}")
    for end in ends:
        for name in ("read", *_ACCOUNTS):
            if end[name] < sum(line[name] for line in batches):
                raise Violation(f"{worker.log}: batches say more {name} than the end: {end}")
