import asyncio
from functools import partial
from itertools import product

import pytest
from aiokafka.errors import NodeNotReadyError

from pattern_metrics.schemas.settings.kafka_client import NoAnswerError, first_answer

BROKERS = 4


async def ask(kind: str, number: int, cancelled: set[int]) -> int:
    """Ask a broker that answers, refuses or is silent."""
    try:
        if kind == "silent":
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.add(number)
        raise
    if kind == "refuses":
        raise NodeNotReadyError(number)
    return number


async def first_of(kinds: tuple[str, ...]) -> tuple[int, set[int]]:
    cancelled = set[int]()
    questions = [partial(ask, kind, number, cancelled) for number, kind in enumerate(kinds)]
    return await first_answer(questions), cancelled


async def test_the_first_broker_that_answers_counts_whatever_the_others_do() -> None:
    every = [
        kinds for kinds in product(("answers", "refuses", "silent"), repeat=BROKERS) if "answers" in kinds
    ]
    async with asyncio.timeout(10):
        found = await asyncio.gather(*map(first_of, every))

    for kinds, (number, cancelled) in zip(every, found, strict=True):
        assert number == kinds.index("answers")
        assert cancelled == {place for place, kind in enumerate(kinds[:number]) if kind == "silent"}


async def test_without_any_answer_each_failure_is_reported() -> None:
    with pytest.raises(NoAnswerError) as raised:
        await first_of(("refuses",) * BROKERS)

    assert [failure.args for failure in raised.value.failures] == [(number,) for number in range(BROKERS)]


async def test_an_error_that_is_no_failure_of_a_broker_is_raised_at_once() -> None:
    async def fail(_kind: str, _number: int, _cancelled: set[int]) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await first_answer([partial(one, "silent", 1, set[int]()) for one in (fail, ask)])
