"""The search for an event through the topic, which ends within a time."""

import asyncio

from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.operations.trace import TopicSearch, trace_with
from pattern_metrics.consumer.postgres.connection import connected
from tests.page.test_api import reading
from tests.support.pipeline import SettingsFactory, an_event, catch_up, send


async def test_an_event_is_found_in_the_topic_and_then_in_the_table(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    url = settings.database_url.get_secret_value()
    first, second, absent = an_event(1), an_event(1, seconds=9), an_event(1, seconds=5)
    await send(settings, [first.to_json(), second.to_json()])
    path = f"/v1/events/{first.event_id}"

    async with reading(url, topics=settings) as program:
        waiting = (await program.request(path)).json
        await catch_up(settings)
        read = (await program.request(f"{path}?pattern={first.pattern_id}")).json
        not_found = (await program.request(f"/v1/events/{absent.event_id}")).json

    assert (waiting["state"], waiting["offset"]) == ("in_topic", 0)
    assert (read["state"], read["superseded_by"]) == ("superseded", str(second.event_id))
    assert not_found["state"] == "not_found"
    assert not_found["searched"] == [
        "the current rows, the history, the dead letters",
        f"topic {settings.kafka_topic} from its beginning on",
    ]


async def test_a_search_that_takes_too_long_says_how_far_it_came(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await send(settings, [an_event(number).to_json() for number in range(20)])
    search = TopicSearch(settings, lambda _done, _total: None, seconds_max=0)

    async with connected(settings.database_url.get_secret_value()) as connection:
        found = await trace_with(connection.fetch, search, an_event(1).event_id)

    assert not found.is_found
    assert found.searched[1].startswith(f"topic {settings.kafka_topic} from its beginning on: only about ")
    assert found.searched[1].endswith(" of 20 offsets in 0 s")


async def test_while_kafka_is_away_the_database_is_searched_alone(settings_for: SettingsFactory) -> None:
    settings = settings_for(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    url = settings.database_url.get_secret_value()

    async with reading(url, topics=settings) as program, asyncio.timeout(60):
        found = (await program.request(f"/v1/events/{an_event(1).event_id}")).json

    assert found["state"] == "not_found"
    assert found["searched"][1].startswith("not the topic: ")
