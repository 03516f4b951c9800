"""The page of metrics, from the table that the worker exposes."""

from collections.abc import Iterator
from typing import Final

from pattern_metrics.consumer.telemetry.metric_table import GATEWAY_TABLE, TABLE, Metric
from tests.reference.text import page, paragraphs, wrapped

_INTRODUCTION: Final = """
`consume` serves these metrics at `/metrics`, in the text format of Prometheus; `gateway` serves the ones
whose names begin with `pattern_metrics_gateway` or `pattern_metrics_outbox`. The names and labels are a
public contract. A label with listed values has all of them from the start.
"""


def metrics_page() -> str:
    """Return each metric with its type, its labels, its buckets and its meaning."""
    blocks = [*paragraphs(_INTRODUCTION)]
    for metric in (*TABLE, *GATEWAY_TABLE):
        blocks += [f"## `{metric.name}`", wrapped(_kind(metric)), *paragraphs(metric.help)]
    return page("Metrics", "consumer/telemetry/metric_table.py", blocks)


def _kind(metric: Metric) -> str:
    parts = [f"A {metric.kind}", *_labels(metric)]
    if metric.buckets:
        parts.append(f"buckets {', '.join(f'{bound:g}' for bound in metric.buckets)}")
    return "; ".join(parts) + "."


def _labels(metric: Metric) -> Iterator[str]:
    for label, values in metric.labels.items():
        # A single value belongs to this installation, such as its version.
        listed = f" ({', '.join(f'`{value}`' for value in values)})" if len(values) > 1 else ""
        yield f"label `{label}`{listed}"
