"""Drawing of faults: the seed determines everything, and no two faults of a round undo each other."""

import random

from tests.adversity.faults import FAULTS, Kind
from tests.adversity.rounds import Drawn, draw

DRAWS = 500


def drawn_from(seed: int) -> list[list[Drawn]]:
    chance = random.Random(seed)
    return [draw(chance, FAULTS) for _ in range(DRAWS)]


def test_the_same_seed_draws_the_same_faults_again() -> None:
    assert drawn_from(1) == drawn_from(1) != drawn_from(2)


def test_each_round_breaks_one_target_once_and_recreates_a_topic_alone() -> None:
    for drawn in drawn_from(3):
        targets = [FAULTS[fault.kind].target for fault in drawn]
        assert 1 <= len(targets) == len(set(targets)) <= 3
        assert len(drawn) == 1 or Kind.TOPIC_RECREATED not in {fault.kind for fault in drawn}


def test_each_kind_is_drawn_sooner_or_later() -> None:
    assert {fault.kind for drawn in drawn_from(4) for fault in drawn} == set(FAULTS)
