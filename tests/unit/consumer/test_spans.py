"""A batch's trace: its links to publishers, and the conditions for having one."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pattern_metrics.consumer.records.record import Fate, Rejected, StoredRecord
from pattern_metrics.consumer.telemetry.spans import LINKS_MAX, RecordedBatch
from pattern_metrics.consumer.telemetry.tracing import OFF, begin_batch, tracing_asked_by
from pattern_metrics.schemas.dead_letter import RejectReason

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"

HOSTILE: list[bytes | None] = [
    None,
    b"",
    VALID.upper().encode(),
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"ff-{TRACE}-{SPAN}-01".encode(),
    f"{VALID}-more".encode(),
    f"{VALID}\n".encode(),
    f" {VALID}".encode(),
    f"{VALID}, {VALID}".encode(),
    VALID.replace("-01", "-1").encode(),
    VALID.replace("4bf", "4\u0661f").encode(),
    b"\xff" * 55,
    b"00-" + b"a" * 1_000_000,
]


def record(*headers: tuple[str, bytes | None], topic: str = "t") -> Fate:
    return Rejected(StoredRecord(topic, 0, 0, 0, b"", headers=headers), RejectReason.INVALID_JSON, "")


def trace_of(*parts: list[Fate]) -> dict[str, ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with RecordedBatch(provider.get_tracer("x"), ("t",), "g") as batch:
        batch.polled(parts, 0.0)
    return {span.name: span for span in exporter.get_finished_spans()}


def links_of(*parts: list[Fate]) -> list[str]:
    links = trace_of(*parts)["process t"].links
    return [f"00-{one.context.trace_id:032x}-{one.context.span_id:016x}-01" for one in links]


def test_a_batch_links_to_each_publisher_of_its_records_once() -> None:
    others = [f"00-{number:032x}-{number:016x}-01" for number in (1, 2)]
    parts = [
        [record(("traceparent", VALID.encode())), record(("traceparent", VALID.encode())), record()],
        [record(("x", b"y"), *(("traceparent", other.encode()) for other in others))],
    ]

    assert links_of(*parts) == [VALID, *others]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_header_does_nothing(value: bytes | None) -> None:
    assert links_of([record(("traceparent", value)), record(("traceparent", VALID.encode()))]) == [VALID]


def test_the_number_of_links_is_bounded() -> None:
    records = [
        record(("traceparent", f"00-{number:032x}-{number:016x}-01".encode()))
        for number in range(1, LINKS_MAX + 2)
    ]

    assert len(links_of(records[:-1])) == LINKS_MAX
    assert len(links_of(records)) == LINKS_MAX
    assert trace_of(records)["process t"].dropped_links == 0


@pytest.mark.parametrize("read", [("a",), ("b",), ("a", "b"), ()], ids=str)
def test_the_spans_of_a_batch_name_its_topic_if_it_has_one(read: tuple[str, ...]) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with RecordedBatch(provider.get_tracer("x"), ("a", "b"), "g") as batch:
        batch.polled([[record(topic=topic)] for topic in read], 0.0)
        with batch.span("commit"):
            pass

    topic = read[0] if len(read) == 1 else None
    for step in ("poll", "commit", "process"):
        [span] = [each for each in exporter.get_finished_spans() if each.name.startswith(step)]
        assert span.name == (f"{step} {topic}" if topic else step)
        assert (span.attributes or {}).get("messaging.destination.name") == topic


ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        (ON, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, None),
        (ON | {"OTEL_SDK_DISABLED": "True"}, None),
        (ON | {"OTEL_SDK_DISABLED": "false"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (ON | {"OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
    ],
    ids=str,
)
def test_the_standard_variables_alone_turn_tracing_on(
    environment: dict[str, str], variable: str | None
) -> None:
    assert tracing_asked_by(environment) == variable


def test_without_tracing_all_batches_share_the_trace_that_does_nothing() -> None:
    assert begin_batch(("t",), "g") is OFF
    assert OFF.span("write", 1) is OFF.span("commit") is OFF.ending_on_failure()


def test_nothing_of_the_worker_or_the_publisher_imports_opentelemetry_by_itself() -> None:
    names = ("consumer.cli.app", "consumer.worker.worker", "consumer.http.probes", "publisher.client")
    modules = ", ".join(f"pattern_metrics.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
