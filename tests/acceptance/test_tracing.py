"""Tracing: spans for a real collector, which may be down, and no overhead at all without one."""

import sys
from itertools import pairwise

import pytest

from pattern_metrics.consumer.records.batch import WORTH_SPLITTING
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import CONNECTIONS
from tests.support.collector import CollectedSpan, Collector, Mood, collecting
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.pipeline import an_event, execute, expected_table, producing, send, table
from tests.support.waiting import eventually

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

SDK_SECONDS_MAX = 30
"""The time for which the SDK itself would wait at the end."""

AGENT = """
import sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pattern_metrics.publisher.client import BlockingScorePublisher
from pattern_metrics.schemas.pattern_scored import parse_event
from datetime import UTC, datetime

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
events = [parse_event(line, accepted_until=datetime.now(UTC)) for line in sys.stdin.buffer]
with BlockingScorePublisher() as publisher, trace.get_tracer("agent").start_as_current_span("score"):
    publisher.publish_many(events)
provider.shutdown()
"""

CONSUME = """
import asyncio, sys
from pattern_metrics.consumer.cli.app import main
from pattern_metrics.publisher.client import ScorePublisher

async def publish():
    async with ScorePublisher() as publisher:
        await publisher.publish_many([])

asyncio.run(publish())
sys.argv[1:] = ["consume", "--until-caught-up"]
try:
    main()
finally:
    print(any(name.startswith("opentelemetry") for name in sys.modules))
"""

WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry"] = None
from pattern_metrics.consumer.cli.app import main
main()
"""

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'hunter2 %', NEW.metadata USING ERRCODE = 'XX000'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def named(spans: list[CollectedSpan], name: str) -> list[CollectedSpan]:
    return [span for span in spans if span.name.split()[0] == name]


async def test_each_batch_is_a_trace_that_links_to_those_who_published_its_records(
    command: CommandLine, settings: WorkerSettings
) -> None:
    topic = settings.kafka_topic
    hostile = [b"", b"00-" + b"0" * 32, b"\xff" * 55, f"00-{TRACE}-{SPAN}-01\n".encode()]
    async with producing(settings) as producer:
        for value in [f"00-{TRACE}-{SPAN}-01".encode(), *hostile]:
            headers = [("traceparent", value)]
            await producer.send_and_wait(topic, an_event().to_json(), headers=headers, partition=0)
        await producer.send_and_wait(topic, b"poison", partition=0)

    with collecting() as collector:
        run = await command.run("consume", "--until-caught-up", "--json", **collector.environment)

    spans = collector.spans
    batches = named(spans, "process")
    assert run.succeeded().json["read"] == 6
    assert sum(batch.attributes["messaging.batch.message_count"] for batch in batches) == 6
    assert [link for batch in batches for link in batch.links] == [(TRACE, SPAN)]
    assert len({span.trace_id for span in spans}) == len(batches)
    for batch in batches:
        assert (batch.service, batch.parent_id, batch.kind) == ("pattern-metrics", "", "CONSUMER")
        children = [span for span in spans if span.parent_id == batch.span_id]
        in_order = sorted(children, key=lambda span: span.start)
        assert [span.name for span in in_order] == [f"poll {topic}", "decode", "write", f"commit {topic}"]
        assert batch.start == in_order[0].start
        assert batch.end >= in_order[-1].end
        assert all(one.end <= other.start for one, other in pairwise(in_order))
    assert not any(span.is_failed for span in spans)


async def test_the_spans_say_what_the_conventions_want(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await send(real_settings, [an_event().to_json()])
    with collecting() as collector:
        (await real_command.run("consume", "--until-caught-up", **collector.environment)).succeeded()

    messaging = {
        "messaging.system": "kafka",
        "messaging.destination.name": real_settings.kafka_topic,
        "messaging.consumer.group.name": real_settings.kafka_group_id,
    }
    attributes = {
        "process": messaging | {"messaging.operation.name": "process", "messaging.operation.type": "process"},
        "poll": messaging | {"messaging.operation.name": "poll", "messaging.operation.type": "receive"},
        "decode": {},
        "write": {"db.system.name": "postgresql"},
        "commit": messaging | {"messaging.operation.name": "commit", "messaging.operation.type": "settle"},
    }
    kinds = {"process": "CONSUMER", "decode": "INTERNAL"}
    for name, expected in attributes.items():
        [span] = named(collector.spans, name)
        assert span.attributes == expected | {"messaging.batch.message_count": 1}
        assert span.kind == kinds.get(name, "CLIENT")


async def test_a_batch_links_to_the_agents_own_span_and_has_one_for_each_writer(
    command: CommandLine, settings: WorkerSettings
) -> None:
    events = [an_event(pattern) for pattern in range(2 * WORTH_SPLITTING)]
    one_batch = {"batch_max_records": len(events), "batch_max_wait_ms": 60_000}
    with collecting() as collector:
        lines = b"\n".join(event.to_json() for event in events)
        await command.run_program(
            sys.executable,
            "-c",
            AGENT,
            stdin=lines,
            otel_service_name="agent",
            **collector.environment,
        )
        environment = collector.environment | one_batch
        (await command.run("consume", "--until-caught-up", **environment)).succeeded()

    assert await table(settings) == expected_table(events)
    [score], [sent] = named(collector.spans, "score"), named(collector.spans, "send")
    [batch], writes = named(collector.spans, "process"), named(collector.spans, "write")
    assert (sent.service, sent.kind, sent.parent_id) == ("agent", "PRODUCER", score.span_id)
    assert sent.attributes == {
        "messaging.system": "kafka",
        "messaging.destination.name": settings.kafka_topic,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": len(events),
    }
    assert batch.links == [(sent.trace_id, sent.span_id)]
    assert batch.trace_id != sent.trace_id
    assert [write.parent_id for write in writes] == [batch.span_id] * CONNECTIONS
    assert sum(write.attributes["messaging.batch.message_count"] for write in writes) == len(events)


@pytest.mark.parametrize("mood", ["refuses", "hangs", "is away"])
async def test_a_collector_that_takes_nothing_changes_nothing_but_one_line_of_the_log(
    real_command: CommandLine, real_settings: WorkerSettings, mood: Mood
) -> None:
    events = [an_event(pattern) for pattern in range(40)]
    await send(real_settings, [event.to_json() for event in events])
    with collecting(mood) as collector:
        async with real_command.worker(
            batch_max_records=1,
            log_level="DEBUG",
            otel_exporter_otlp_timeout=3600 if mood == "hangs" else 1,
            otel_bsp_max_queue_size=10,
            otel_bsp_max_export_batch_size=5,
            **collector.environment,
        ) as worker:
            await worker.wait_until_read(len(events))
            complaint = await worker.wait_for_event("spans_not_exported")
            code = await worker.terminate(SDK_SECONDS_MAX - 5)

    assert code == 0
    assert await table(real_settings) == expected_table(events)
    assert complaint["level"] == "warning"
    others = [
        line for line in worker.events() if str(line["logger"]).startswith(("opentelemetry", "urllib3"))
    ]
    assert len(worker.events("spans_not_exported")) == 1
    assert not others


async def test_spans_go_on_once_the_collector_takes_them(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    with collecting("refuses") as collector:
        async with real_command.worker(otel_exporter_otlp_timeout=1, **collector.environment) as worker:
            await send(real_settings, [an_event(1).to_json()])
            await worker.wait_for_event("spans_not_exported")
            collector.mood = "takes"
            await send(real_settings, [an_event(2).to_json()])
            await eventually(lambda: named(collector.spans, "commit"), deadline_seconds=SECONDS_MAX)


async def test_of_a_failure_the_class_is_exported_and_not_what_it_says(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await execute(real_settings, REFUSE)
    await send(real_settings, [an_event().to_json()])
    with collecting() as collector:
        async with real_command.worker(shutdown_grace_seconds=1, **collector.environment) as worker:
            await eventually(lambda: named(collector.spans, "write"), deadline_seconds=SECONDS_MAX)
            await send(real_settings, [an_event().to_json()])
            await eventually(lambda: len(named(collector.spans, "poll")) == 2, deadline_seconds=SECONDS_MAX)
            assert await worker.terminate() == 0

    writes, batches = named(collector.spans, "write"), named(collector.spans, "process")
    written, waiting = sorted(batches, key=lambda batch: batch.start)
    classes = {span.attributes["error.type"] for span in writes}
    # The grace time may end during an attempt.
    assert classes - {"asyncio.exceptions.CancelledError"} == {"asyncpg.exceptions.InternalServerError"}
    assert all(span.is_failed and span.parent_id == written.span_id for span in writes)
    assert written.is_failed
    assert written.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert waiting.is_failed
    assert waiting.attributes["error.type"] == "pattern_metrics.consumer.stopping.GraceExpiredError"
    assert not [body for body in collector.bodies if b"hunter2" in body or b"pattern 1" in body]


OFF = [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]


@pytest.mark.parametrize("switch", [*OFF, {"OTEL_SDK_DISABLED": "false"}], ids=str)
async def test_without_tracing_opentelemetry_is_not_imported(
    real_command: CommandLine, real_settings: WorkerSettings, switch: dict[str, str]
) -> None:
    await send(real_settings, [an_event().to_json()])
    with collecting() as collector:
        environment = (collector.environment if switch else {}) | switch
        run = (await real_command.run_program(sys.executable, "-c", CONSUME, **environment)).succeeded()

    assert run.stdout.split()[-1] == str(switch not in OFF).encode()
    assert bool(collector.spans) == (switch not in OFF)


@pytest.mark.parametrize("arguments", [["consume"], ["consume", "--check"]], ids=str)
async def test_without_the_extra_it_is_reported_what_to_install(
    database_command: CommandLine, arguments: list[str]
) -> None:
    code = WITHOUT_THE_EXTRA
    run = await database_command.run_program(
        sys.executable, "-c", code, *arguments, **Collector().environment
    )

    assert (run.code, run.stdout) == (2, b"")
    assert run.stderr == (
        "error: OTEL_EXPORTER_OTLP_ENDPOINT: needs the extra otel: pip install 'pattern-metrics[otel]'\n"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "17"),  # smaller than one export
    ],
)
async def test_an_unsupported_variable_is_reported_in_one_line(
    database_command: CommandLine, variable: str, value: str
) -> None:
    run = await database_command.run("consume", **{**Collector().environment, variable: value})

    assert (run.code, run.stdout) == (2, b"")
    assert run.stderr.startswith("error: OTEL_")
    assert variable in run.stderr.replace("OTEL_BSP_*", variable)
    assert run.stderr.count("\n") == 1
    assert value not in run.stderr
