"""A minimal OpenTelemetry collector: it takes OTLP over HTTP and keeps what it received."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import override

from pattern_metrics.consumer.demo.embedded import HOST

Mood = Literal["takes", "refuses", "hangs", "is away"]


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it arrived; ids in hexadecimal."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    is_failed: bool


class Collector:
    """The spans that were sent to a server which accepts, refuses, never answers, or does not run."""

    def __init__(self, mood: Mood = "takes") -> None:
        self.mood = mood
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.is_over = threading.Event()
        self.port = 0

    @property
    def environment(self) -> dict[str, Any]:
        """The variables that an operator sets."""
        port = 1 if self.mood == "is away" else self.port
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    @property
    def spans(self) -> list[CollectedSpan]:
        return [
            _collected(resource.resource, span)
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting(mood: Mood = "takes") -> Iterator[Collector]:
    """Run a collector on its own port during the block."""
    collector = Collector(mood)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.headers.append(dict(self.headers))
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.mood == "hangs":
                collector.is_over.wait()
                return
            takes = collector.mood == "takes" and self.path == "/v1/traces"
            if takes:
                collector.bodies.append(body)
            self.send_response(200 if takes else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        @override
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            collector.is_over.set()
            server.shutdown()
            thread.join()


def _collected(resource: Any, span: Any) -> CollectedSpan:
    return CollectedSpan(
        service=str(_attributes(resource)["service.name"]),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        is_failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


def _attributes(owner: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}
