"""The span of a publish, with the agent's own SDK. It runs in its own process, because an SDK is set once."""

import json
import subprocess
import sys

AGENT = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pattern_metrics.publisher.tracing import publishing

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with publishing("t", 1) as outside:
    pass
try:
    with trace.get_tracer("agent").start_as_current_span("around", record_exception=False) as around:
        with publishing("t", 1) as headers:
            raise ConnectionError("hunter2")
except ConnectionError:
    pass
span = exporter.get_finished_spans()[0]
print(json.dumps({
    "outside": outside,
    "header": dict(headers)["traceparent"].decode(),
    "trace": f"{around.context.trace_id:032x}",
    "span": json.loads(span.to_json()),
}))
"""


def test_a_publish_inside_a_span_has_its_own_span_which_names_a_failures_class() -> None:
    ran = subprocess.run([sys.executable, "-c", AGENT], check=True, timeout=60, capture_output=True)
    output = json.loads(ran.stdout)
    span = output["span"]

    assert output["outside"] == []
    assert output["header"][:-2] == f"00-{output['trace']}-{span['context']['span_id'].removeprefix('0x')}-"
    assert (span["name"], span["kind"], span["status"]) == (
        "send t",
        "SpanKind.PRODUCER",
        {"status_code": "ERROR"},
    )
    assert span["attributes"] == {
        "messaging.system": "kafka",
        "messaging.destination.name": "t",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "error.type": "builtins.ConnectionError",
    }
    assert span["events"] == []
