"""A producer with a wrong schema does not fill the table of dead letters."""

from dataclasses import replace

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, dead_letters, expected_table, running, send, table
from tests.support.waiting import eventually

LIMIT = 5
INVALID = [f"invalid {number}".encode() for number in range(20)]


async def test_too_many_invalid_records_pause_the_worker_until_the_limit_is_raised(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    event = an_event()
    await send(real_settings, [*INVALID, event.to_json()])

    async with real_command.worker(dead_letter_max_consecutive=LIMIT) as worker:
        paused = await worker.wait_for_event("not_ready", component="breaker")
        assert worker.is_running
        at_pause = await dead_letters(real_settings)
        code = await worker.terminate()
        at_work = worker.events("batch_written")
    refused = await real_command.run("consume", "--until-caught-up", dead_letter_max_consecutive=LIMIT)
    at_refusal = await dead_letters(real_settings)
    (await real_command.run("consume", "--until-caught-up")).succeeded()

    assert "DEAD_LETTER_MAX_CONSECUTIVE" in paused["hint"]
    assert [line["lag"] for line in (*at_work, paused)] == [len(INVALID) + 1 - LIMIT] * 2
    assert [value for value, _ in at_pause] == INVALID[:LIMIT]
    assert code == 0
    assert refused.code == 1
    assert "DEAD_LETTER_MAX_CONSECUTIVE" in refused.stderr
    assert [value for value, _ in at_refusal] == INVALID[: 2 * LIMIT]
    assert [value for value, _ in await dead_letters(real_settings)] == INVALID
    assert await table(real_settings) == expected_table([event])


async def test_the_lag_continues_growing_while_workers_pause(real_settings: WorkerSettings) -> None:
    settings = real_settings.model_copy(update={"dead_letter_max_consecutive": LIMIT})
    timing = replace(TIMING, lag=0.1)
    for partition in range(3):
        await send(settings, INVALID, partition)

    async def is_true_lag(sent: int, *workers: Worker) -> bool:
        lags = [lag.offsets for worker in workers for lag in worker.metrics.lags().values()]
        are_paused = all("breaker" in worker.health.conditions for worker in workers)
        return are_paused and len(lags) == 3 and sum(lags) == sent - len(await dead_letters(settings))

    async with running(settings, timing) as one:
        await eventually(lambda: is_true_lag(3 * len(INVALID), one))
        await send(settings, INVALID)
        await eventually(lambda: is_true_lag(4 * len(INVALID), one))
        async with running(settings, timing) as other:
            await eventually(lambda: is_true_lag(4 * len(INVALID), one, other))
