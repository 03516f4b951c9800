"""A short fixed set of faults: each kind once, several at a time. `make torture` draws faults for hours."""

from itertools import chain

import pytest

from tests.adversity.faults import FAULTS, Kind
from tests.adversity.rounds import Drawn, Figures, end, live_through
from tests.adversity.world import World

ROUNDS: tuple[tuple[Kind, ...], ...] = (
    (Kind.WORKER_KILLED, Kind.POSTGRES_SESSIONS_TERMINATED, Kind.CLOCKS_OFF),
    (Kind.WORKER_FROZEN, Kind.POSTGRES_LOCKED, Kind.CONNECTIONS_SLOWED, Kind.PARTITIONS_ADDED),
    (Kind.WORKER_TERMINATED, Kind.POSTGRES_STOPPED, Kind.KAFKA_KILLED),
    (Kind.KAFKA_FROZEN, Kind.POSTGRES_READ_ONLY, Kind.CONNECTIONS_CUT),
    (Kind.POSTGRES_DISK_FULL, Kind.CONNECTIONS_FORGOTTEN),
    (Kind.CONNECTIONS_HALF_OPEN,),
    (Kind.TOPIC_RECREATED,),
)

QUIET_ROUNDS = {2}
"""Rounds in which nothing is published from the first fault on."""

SECONDS_BETWEEN = 0.5

SEED = 33
"""With this seed, a worker's connection to Kafka breaks, and a clock is too far ahead to be accepted."""


def test_each_kind_of_fault_happens_once() -> None:
    assert sorted(chain.from_iterable(ROUNDS)) == sorted(FAULTS)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_fault_costs_a_record_or_lets_a_row_go_backwards(world: World) -> None:
    figures = Figures()

    for number, kinds in enumerate(ROUNDS):
        drawn = [
            Drawn(kind, SECONDS_BETWEEN * place, FAULTS[kind].seconds_min, seed=SEED)
            for place, kind in enumerate(kinds)
            if kind is not Kind.POSTGRES_DISK_FULL or world.small_disk
        ]
        outcome = await live_through(world, drawn, figures, is_quiet=number in QUIET_ROUNDS)
        print(outcome)  # noqa: T201 - pytest shows it if the test fails
    await end(world)

    assert figures.faults.total() == len({happening.kind for happening in world.history} - {"quiet"})
