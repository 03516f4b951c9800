"""Traces for OpenTelemetry. Spans follow its semantic conventions; its OTEL_… variables set the export.

Spans hold names and numbers, never a value, a setting or an error's message. Nothing waits for the export:
spans queue up to a limit, and spans that the collector does not take are lost.
"""

import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from pattern_metrics.consumer.records.record import Fate
from pattern_metrics.consumer.settings import InvalidSettingError
from pattern_metrics.consumer.telemetry.tracing import BatchTrace, Step, recorder

logger = structlog.get_logger()

NAME: Final = "pattern-metrics"

LINKS_MAX: Final = 128
"""Greatest number of publishers that a batch is linked to; also the SDK's default."""

SPAN_FLUSH_SECONDS_MAX: Final = 2.0
"""Longest wait for the collector to take the last spans when the process ends."""

COMPLAINT_SECONDS: Final = 60.0
"""Seconds between two warnings that spans are lost."""

_NOT_EXPORTED: Final = (
    "check that the collector accepts spans (OTEL_EXPORTER_OTLP_*); the worker continues without them"
)

_SUPPORTED: Final = {
    "OTEL_TRACES_EXPORTER": ("otlp", "none"),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ("http/protobuf",),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("http/protobuf",),
}

_PROPAGATOR: Final = TraceContextTextMapPropagator()

_KINDS: Final[Mapping[str, SpanKind]] = {
    "process": SpanKind.CONSUMER,
    "poll": SpanKind.CLIENT,
    "decode": SpanKind.INTERNAL,
    "write": SpanKind.CLIENT,
    "commit": SpanKind.CLIENT,
}
_MESSAGING_TYPES: Final = {"process": "process", "poll": "receive", "commit": "settle"}


@contextmanager
def exporting() -> Iterator[None]:
    """Record the spans of this block and export them. Leaving it takes SPAN_FLUSH_SECONDS_MAX at most.

    Raises:
        InvalidSettingError: a variable asks for something that is not supported.
    """
    for name, supported in _SUPPORTED.items():
        if os.environ.get(name, "").strip() not in {"", *supported}:
            raise InvalidSettingError(f"{name}: only {' and '.join(supported)} is supported")
    with _complaining_briefly():
        try:
            provider = _provider()
        except (ValueError, RuntimeError):  # its message may hold the value
            raise InvalidSettingError(
                "OTEL_EXPORTER_OTLP_*, OTEL_BSP_*: OpenTelemetry does not understand one of them"
            ) from None
        token = recorder.set(partial(RecordedBatch, provider.get_tracer(NAME, version(NAME))))
        try:
            yield
        finally:
            recorder.reset(token)
            # The SDK would wait for half a minute. After SPAN_FLUSH_SECONDS_MAX the thread is abandoned.
            ending = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
            ending.start()
            ending.join(SPAN_FLUSH_SECONDS_MAX)


def _provider() -> TracerProvider:
    ours = Resource.create({"service.name": NAME, "service.version": version(NAME)})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class _Complaints(logging.Handler):
    """Warns that spans are lost, seldom and in our words: the library's text may hold a token."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at = -COMPLAINT_SECONDS

    @override
    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said_at >= COMPLAINT_SECONDS:
            self._said_at = now
            logger.warning("spans_not_exported", hint=_NOT_EXPORTED)


@contextmanager
def _complaining_briefly() -> Iterator[None]:
    complaints = _Complaints()
    loggers = [logging.getLogger(name) for name in ("opentelemetry", "urllib3")]
    for one in loggers:
        one.addHandler(complaints)
        one.propagate = False
    try:
        yield
    finally:
        for one in loggers:
            one.removeHandler(complaints)
            one.propagate = True


class RecordedBatch(BatchTrace):
    """The trace of a batch, with links to the traces of the publishers of its records.

    Args:
        tracer: creates the spans.
        topics: the topics that are read. The spans name the topic if the records are of one.
        group: the consumer group that reads them.
    """

    def __init__(self, tracer: Tracer, topics: Sequence[str], group: str) -> None:
        self._tracer = tracer
        self._topics = frozenset(topics)
        self._group = group
        self._records = 0
        self._began_at = time.time_ns()
        self._context = Context()
        self._span: Span = INVALID_SPAN

    @override
    def polled(self, parts: Collection[Sequence[Fate]], decode_seconds: float) -> None:
        self._records = sum(map(len, parts))
        self._topics = frozenset(part[0].record.topic for part in parts if part) or self._topics
        self._span = self._start("process", self._records, self._began_at)
        if self._span.is_recording():
            for publisher in islice(_publishers(parts), LINKS_MAX):
                self._span.add_link(publisher)
        self._context = set_span_in_context(self._span, self._context)
        # Records are decoded as they arrive. The trace shows this as if decoding began when all had arrived.
        polled_at = time.time_ns() - int(decode_seconds * 1e9)
        self._start("poll", self._records, self._began_at).end(polled_at)
        self._start("decode", self._records, polled_at).end()

    @override
    @contextmanager
    def span(self, step: Step, records: int | None = None) -> Iterator[None]:
        span = self._start(step, self._records if records is None else records)
        try:
            yield
        except BaseException as error:
            _fail(span, type(error))
            raise
        finally:
            span.end()

    @override
    @contextmanager
    def ending_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.__exit__(type(error))
            raise

    @override
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            _fail(self._span, kind)
        self._span.end()

    def _start(self, step: str, records: int, began_at: int | None = None) -> Span:
        attributes: dict[str, str | int] = {"messaging.batch.message_count": records}
        name = step
        if step in _MESSAGING_TYPES:
            attributes |= {
                "messaging.system": "kafka",
                "messaging.consumer.group.name": self._group,
                "messaging.operation.name": step,
                "messaging.operation.type": _MESSAGING_TYPES[step],
            }
            if len(self._topics) == 1:
                [topic] = self._topics
                name = f"{step} {topic}"
                attributes["messaging.destination.name"] = topic
        elif step == "write":
            attributes["db.system.name"] = "postgresql"
        return self._tracer.start_span(
            name, self._context, kind=_KINDS[step], attributes=attributes, start_time=began_at
        )


def _fail(span: Span, kind: type[BaseException]) -> None:
    """Mark a span as failed, with the error's class alone: the message may hold a value or a password."""
    span.set_attribute("error.type", f"{kind.__module__}.{kind.__qualname__}")
    span.set_status(StatusCode.ERROR)


def _publishers(parts: Iterable[Sequence[Fate]]) -> Iterator[SpanContext]:
    """Return the distinct spans that the records' `traceparent` headers name; skip invalid headers."""
    seen = set[object]()
    for fates in parts:
        for fate in fates:
            for name, value in fate.record.headers:
                if name != "traceparent" or value in seen:
                    continue
                seen.add(value)
                carrier = {name: (value or b"").decode("latin-1")}
                publisher = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
                span = publisher.trace_id, publisher.span_id
                if publisher.is_valid and span not in seen:
                    seen.add(span)
                    yield publisher
