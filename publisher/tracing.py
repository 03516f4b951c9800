"""What is published inside a span is told so: `traceparent` and `tracestate` as the W3C has them.

OpenTelemetry is no dependency: who has not imported it has no current span either.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def publishing(topic: str, events: int) -> Iterator[list[tuple[str, bytes]]]:
    """Within this block so many events are published, with these headers; a span where there is one around.

    A failure is recorded by its class alone.
    """
    if "opentelemetry.trace" not in sys.modules:
        yield []
        return
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
