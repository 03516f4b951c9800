"""A producer with a wrong schema does not fill the table of dead letters."""

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, dead_letters, expected_table, send, table

LIMIT = 5
INVALID = [f"invalid {number}".encode() for number in range(20)]


async def test_after_so_many_invalid_records_the_worker_pauses_until_the_limit_is_raised(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    event = an_event()
    await send(real_settings, [*INVALID, event.to_json()])

    async with real_command.worker(dead_letter_max_consecutive=LIMIT) as worker:
        paused = await worker.wait_for_event("not_ready", component="breaker")
        assert worker.is_running
        at_pause = await dead_letters(real_settings)
        code = await worker.terminate()
    refused = await real_command.run("consume", "--until-caught-up", dead_letter_max_consecutive=LIMIT)
    at_refusal = await dead_letters(real_settings)
    (await real_command.run("consume", "--until-caught-up")).succeeded()

    assert "DEAD_LETTER_MAX_CONSECUTIVE" in paused["hint"]
    assert [value for value, _ in at_pause] == INVALID[:LIMIT]
    assert code == 0
    assert refused.code == 1
    assert "DEAD_LETTER_MAX_CONSECUTIVE" in refused.stderr
    assert [value for value, _ in at_refusal] == INVALID[: 2 * LIMIT]
    assert [value for value, _ in await dead_letters(real_settings)] == INVALID
    assert await table(real_settings) == expected_table([event])
