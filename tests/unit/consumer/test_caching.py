"""The cache of answers."""

import asyncio

import pytest

from pattern_metrics.consumer.api.cache import COMPUTED_AT_ONCE_MAX, BusyError, Cache
from tests.support.waiting import eventually


async def test_an_answer_is_computed_once_for_all_who_ask_meanwhile() -> None:
    cache, computed = Cache(), 0

    async def compute() -> bytes:
        nonlocal computed
        computed += 1
        await asyncio.wait_for(released.wait(), 30)
        return b"answer"

    released = asyncio.Event()
    asked = [asyncio.create_task(cache.get("name", compute)) for _ in range(5)]
    first_to_leave = asked[0]
    await eventually(lambda: computed)
    first_to_leave.cancel()
    released.set()
    answers = await asyncio.gather(*asked[1:])
    again = await cache.get("name", compute)

    assert answers == [b"answer"] * 4
    assert again == b"answer"
    assert computed == 1


async def test_an_answer_is_computed_again_once_it_is_older_than_its_asker_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, now, computed = Cache(), 0.0, 0

    async def compute() -> bytes:
        nonlocal now, computed
        computed += 1
        now += 5.0  # its cost
        return b"answer"

    monkeypatch.setattr("pattern_metrics.consumer.api.cache.time.monotonic", lambda: now)
    for wait, expected in ((0.0, 1), (4.9, 1), (0.2, 2)):
        now += wait
        await cache.get("name", compute, 5.0)
        assert computed == expected


async def test_a_failure_is_reported_to_all_and_not_kept() -> None:
    cache = Cache()

    async def fail() -> bytes:
        raise ConnectionError

    async def succeed() -> bytes:
        return b"answer"

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await cache.get("name", fail)
    assert await cache.get("name", succeed) == b"answer"


async def test_more_answers_than_a_few_are_not_computed_at_once() -> None:
    cache, never = Cache(), asyncio.Event()

    async def compute() -> bytes:
        await never.wait()
        return b""

    asked = [asyncio.create_task(cache.get(str(number), compute)) for number in range(COMPUTED_AT_ONCE_MAX)]
    await eventually(lambda: len(cache._computing) == COMPUTED_AT_ONCE_MAX)
    with pytest.raises(BusyError):
        await cache.get("one more", compute)
    never.set()
    assert await asyncio.gather(*asked) == [b""] * COMPUTED_AT_ONCE_MAX
