"""Invalid records affect no other record: all hostile records through a real broker into a real database."""

import uuid

from pattern_metrics.consumer.records.accounting import Accounting
from tests.support.hostile import HOSTILE
from tests.support.pipeline import (
    SettingsFactory,
    an_event,
    catch_up,
    execute,
    expected_table,
    fetch,
    producing,
    table,
)


async def test_each_hostile_record_becomes_one_dead_letter_and_the_others_are_stored(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    neighbours = [an_event(number) for number in range(len(HOSTILE) + 1)]
    hostile_at = {}
    async with producing(settings) as producer:
        await producer.send_and_wait(settings.kafka_topic, neighbours[0].to_json(), partition=0)
        for hostile, neighbour in zip(HOSTILE, neighbours[1:], strict=True):
            metadata = await producer.send_and_wait(
                settings.kafka_topic,
                hostile.value,
                key=hostile.key,
                headers=list(hostile.headers),
                partition=0,
            )
            hostile_at[metadata.offset] = hostile
            await producer.send(settings.kafka_topic, neighbour.to_json(), partition=0)

    accounting = await catch_up(settings)
    replay = settings.model_copy(update={"kafka_group_id": f"replay-{uuid.uuid4()}"})
    replayed = await catch_up(replay)

    letters = {
        row["offset"]: row
        for row in await fetch(settings, 'SELECT "offset", key, value, reason, detail FROM dead_letters')
    }
    found = {offset: (row["key"], row["value"], row["reason"]) for offset, row in letters.items()}
    expected = {
        offset: (hostile.key, hostile.value, hostile.reason) for offset, hostile in hostile_at.items()
    }
    assert found == expected
    assert await table(settings) == expected_table(neighbours)
    assert accounting == Accounting(applied=len(neighbours), dead_letters=len(HOSTILE))
    assert replayed == Accounting(superseded=len(neighbours), dead_letters=len(HOSTILE))


async def test_rows_that_an_operators_constraint_refuses_become_dead_letters(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    await execute(
        settings,
        "ALTER TABLE pattern_quality_metrics "
        "ADD CONSTRAINT house_rule CHECK (metadata ->> 'name' <> 'pattern 13')",
    )
    events = [an_event(number) for number in range(40)]
    async with producing(settings) as producer:
        for event in events:
            await producer.send(settings.kafka_topic, event.to_json(), partition=event.pattern_id.int % 3)

    assert await catch_up(settings) == Accounting(applied=39, dead_letters=1)

    [letter] = await fetch(settings, "SELECT value, reason FROM dead_letters")
    assert (letter["value"], letter["reason"]) == (events[13].to_json(), "refused_by_database")
