"""Rounds of faults: one or several, then quiet, then the checks; and the figures of all rounds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.adversity.checks import Violation, check, peak_bytes, require_held
from tests.adversity.faults import FAULTS, Kind, terminate
from tests.adversity.world import World
from tests.support.waiting import eventually, hold

BEGIN_SECONDS_MAX: Final = 3.0
"""The faults of a round begin within this time, so that they overlap in different ways."""

PUBLISH_SECONDS_MAX: Final = 120.0

PARTS_AFTER: Final = 5
"""Parts after the last fault: enough to reach every partition and show that every connection works again."""


QUIET_SHARE: Final = 0.3

_NOT_QUIET: Final = {Kind.CLOCKS_OFF, Kind.TOPIC_RECREATED}
"""Faults that need a running producer."""


class Drawn(NamedTuple):
    """A drawn fault."""

    kind: Kind
    begin_seconds: float
    seconds: float
    seed: int


@dataclass
class Figures:
    """The figures that are printed at the end.

    Attributes:
        faults: number of each kind.
        recovery_seconds: for each round, the time from the end of its last fault until the table held
            everything that was acknowledged up to a moment after that end.
        publish_seconds: the part of it until the publisher got an acknowledgement again.
        by_kind: the recovery of rounds with one fault only.
        peak_bytes: the peak of resident memory of all workers.
    """

    faults: Counter[Kind] = field(default_factory=Counter)
    recovery_seconds: list[float] = field(default_factory=list)
    publish_seconds: list[float] = field(default_factory=list)
    by_kind: dict[Kind, list[float]] = field(default_factory=dict)
    peak_bytes: int = 0


def draw(chance: random.Random, kinds: Collection[Kind]) -> list[Drawn]:
    """Draw the faults of a round: at most one per target. A topic is recreated only without other faults."""
    count = chance.choices((1, 2, 3), (5, 3, 2))[0]
    drawn = list[Drawn]()
    targets = set[str]()
    for kind in chance.sample(sorted(kinds), len(kinds)):
        fault = FAULTS[kind]
        is_alone = Kind.TOPIC_RECREATED in {kind, *(other.kind for other in drawn)}
        if len(drawn) < count and fault.target not in targets and not (is_alone and drawn):
            targets.add(fault.target)
            seconds = chance.uniform(fault.seconds_min, fault.seconds_max)
            drawn.append(Drawn(kind, chance.uniform(0, BEGIN_SECONDS_MAX), seconds, chance.getrandbits(32)))
    return drawn


def draw_quiet(chance: random.Random, drawn: Sequence[Drawn]) -> bool:
    """Draw whether the producer stops with the first fault, so that no later record wakes anything up."""
    return chance.random() < QUIET_SHARE and _NOT_QUIET.isdisjoint(fault.kind for fault in drawn)


async def live_through(
    world: World, drawn: Sequence[Drawn], figures: Figures, *, is_quiet: bool = False
) -> str:
    """Run one round. Return a line that describes it.

    Raises:
        Violation: a check failed.
    """
    kinds = [fault.kind for fault in drawn]
    if is_quiet:
        await world.load.pause()
        world.tell("quiet", "the producer pauses")
    await _happen(world, drawn)
    ended_at = time.monotonic()
    if not is_quiet:
        await _publish_more(world)
    published_at = time.monotonic()
    await require_held(world, dict(world.load.fold))
    recovered_at = time.monotonic()
    await world.load.pause()
    await check(world)
    world.load.resume()

    shown = [*kinds, *(["quiet"] if is_quiet else [])]
    recovery_seconds, publish_seconds = recovered_at - ended_at, published_at - ended_at
    figures.faults.update(kinds)
    figures.recovery_seconds.append(recovery_seconds)
    figures.publish_seconds.append(publish_seconds)
    if len(kinds) == 1:
        figures.by_kind.setdefault(kinds[0], []).append(recovery_seconds)
    figures.peak_bytes = max(figures.peak_bytes, *(peak_bytes(member.worker) for member in world.members))
    return (
        f"{world.seconds:6.0f} s  {' + '.join(shown):60}  published again after {publish_seconds:5.1f} s, "
        f"recovered after {recovery_seconds:5.1f} s  {world.load.events:,} events, "
        f"{world.load.letters.total():,} dead letters, at most {figures.peak_bytes >> 20} MiB"
    )


async def _happen(world: World, drawn: Sequence[Drawn]) -> None:
    async def happen(fault: Drawn) -> None:
        await hold(fault.begin_seconds)
        await FAULTS[fault.kind].act(world, random.Random(fault.seed), fault.seconds)

    tasks = [asyncio.ensure_future(happen(fault)) for fault in drawn]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _publish_more(world: World) -> None:
    wanted = world.load.parts + PARTS_AFTER

    def is_published() -> bool:
        return world.load.has_failed or world.load.parts >= wanted

    try:
        await eventually(is_published, deadline_seconds=PUBLISH_SECONDS_MAX)
    except AssertionError:
        raise Violation(f"the publisher did not get on within {PUBLISH_SECONDS_MAX:g} s") from None
    world.load.require_alive()


async def end(world: World) -> None:
    """Stop the workers as a supervisor would, and check their logs last."""
    await terminate(world.members)
