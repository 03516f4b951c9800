"""A producer's transaction that stays open: the records behind it are no lag, and the cause is named."""

from dataclasses import replace

from structlog.testing import capture_logs

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.telemetry.metric_table import LAG, OPEN_TRANSACTION_OFFSETS
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, expected_table, producing, running, send, table
from tests.support.topics import recreate_topic
from tests.support.waiting import eventually

BEFORE, INSIDE, BEHIND = an_event(1), an_event(2), [an_event(number) for number in range(3, 6)]


def value_of(worker: Worker, name: str) -> float:
    lines = worker.metrics.render({}).decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


async def test_an_open_transaction_is_named_and_does_not_count_as_lag(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, settings = real_command, real_settings
    await recreate_topic(settings, partitions=1, configs={})
    await send(settings, [BEFORE.to_json()])

    async with producing(settings, transactional_id=settings.kafka_topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, INSIDE.to_json(), partition=0)
        await send(settings, [event.to_json() for event in BEHIND])

        (await command.run("consume", "--until-caught-up")).succeeded()
        open_status = (await command.run("status", "--json")).succeeded().json
        screen = (await command.run("status")).succeeded().stdout.decode()
        with capture_logs() as logs:
            async with running(settings, replace(TIMING, lag=0.2)) as worker:
                await eventually(lambda: value_of(worker, OPEN_TRANSACTION_OFFSETS.name) == 1 + len(BEHIND))
                await eventually(lambda: [log for log in logs if log["event"] == "transaction_open"])
                assert value_of(worker, LAG.name) == 0
                await producer.commit_transaction()
                await eventually(lambda: worker.accounting.applied == 1 + len(BEHIND))
                await eventually(lambda: value_of(worker, OPEN_TRANSACTION_OFFSETS.name) == 0)

    closed = (await command.run("status", "--json")).succeeded().json
    assert (open_status["lag"], open_status["held_back"]) == (0, 1 + len(BEHIND))
    assert open_status["partitions"][0]["end"] == 1
    assert "open transaction holds back 4 offsets from 1 on" in " ".join(screen.split())
    [line] = [log for log in logs if log["event"] == "transaction_open"]
    assert (line["partition"], line["offset"], line["held_back"]) == (0, 1, 1 + len(BEHIND))
    assert closed["held_back"] == 0
    assert await table(settings) == expected_table([BEFORE, INSIDE, *BEHIND])
