"""The interface for recording the steps of each batch and their durations. By default it records nothing.

This module does not know OpenTelemetry. `spans` does, and is imported only if tracing is on.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, Literal, Self, TypeAlias

from pattern_metrics.consumer.records.record import Fate

Step: TypeAlias = Literal["poll", "decode", "write", "commit"]

_NOTHING: Final = nullcontext()

_TURNING_ON: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)


class BatchTrace:
    """The trace of one batch, from before its poll to the end of its block. This one does nothing."""

    def polled(self, parts: Collection[Sequence[Fate]], decode_seconds: float) -> None:
        """Record the polled records of each partition, and the seconds that it took to decode them."""

    def span(
        self,
        step: Step,  # noqa: ARG002 - this trace records nothing
        records: int | None = None,  # noqa: ARG002 - this trace records nothing
    ) -> AbstractContextManager[None]:
        """Within this block the batch, or that many of its records, take a step."""
        return _NOTHING

    def ending_on_failure(self) -> AbstractContextManager[None]:
        """Within this block the batch is in flight. An error in it ends the trace as failed."""
        return _NOTHING

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the trace, as failed if there was an error."""


OFF: Final = BatchTrace()

recorder: ContextVar[Callable[[Sequence[str], str], BatchTrace] | None] = ContextVar("recorder", default=None)
"""Begins the trace of a batch of these topics and a consumer group; None if tracing is off."""


def begin_batch(topics: Sequence[str], group: str) -> BatchTrace:
    """Begin the trace of the next poll."""
    begin = recorder.get()
    return OFF if begin is None else begin(topics, group)


def tracing_asked_by(environment: Mapping[str, str]) -> str | None:
    """Return OpenTelemetry's variable that turns tracing on, or None. An empty variable counts as unset."""
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    return next((name for name in _TURNING_ON if environment.get(name, "").strip()), None)
