"""Trace context for published events: the headers `traceparent` and `tracestate` (W3C Trace Context).

OpenTelemetry is not a dependency: a program that has not imported it has no current span.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

_UNTRACED: Final = nullcontext(list[tuple[str, bytes]]())


def publishing(topic: str, events: int) -> AbstractContextManager[list[tuple[str, bytes]]]:
    """Open a producer span for this many events, and yield the headers that carry its context.

    Without a current span it opens none and yields no headers. A failure is recorded by its class alone,
    because its text may hold secrets.
    """
    return _traced(topic, events) if "opentelemetry.trace" in sys.modules else _UNTRACED


@contextmanager
def _traced(topic: str, events: int) -> Iterator[list[tuple[str, bytes]]]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not trace.get_current_span().get_span_context().is_valid:
        yield []
        return
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    if events > 1:
        attributes["messaging.batch.message_count"] = events
    with trace.get_tracer("pattern-metrics").start_as_current_span(
        f"send {topic}",
        kind=trace.SpanKind.PRODUCER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        try:
            yield [(name, value.encode()) for name, value in headers.items()]
        except BaseException as error:
            span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
            span.set_status(trace.StatusCode.ERROR)
            raise
