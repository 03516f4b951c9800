"""What was done with each batch, and for how long: told to whoever records it, and by default nobody does.

Nothing here knows OpenTelemetry; `spans` does, and is imported only where tracing is on.
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
    """The trace of one batch, from before its poll to the end of its block; this one does nothing at all."""

    def polled(self, parts: Collection[Sequence[Fate]], decode_seconds: float) -> None:
        """The poll that began with this trace brought these records, and this went into decoding them."""

    def span(
        self,
        step: Step,  # noqa: ARG002 - there is nobody to tell
        records: int | None = None,  # noqa: ARG002 - likewise
    ) -> AbstractContextManager[None]:
        """Within this block the batch, or so many of its records, take a step."""
        return _NOTHING

    def ending_on_failure(self) -> AbstractContextManager[None]:
        """Within this block the batch is in hand; who raises in it gives up the batch."""
        return _NOTHING

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The batch is done with, or was given up because of this."""


OFF: Final = BatchTrace()

recorder: ContextVar[Callable[[str, str], BatchTrace] | None] = ContextVar("recorder", default=None)
"""Begins the trace of a batch of a topic and a consumer group; None where tracing is off."""


def begin_batch(topic: str, group: str) -> BatchTrace:
    """Begin the trace of what will be polled next, if anything is."""
    begin = recorder.get()
    return OFF if begin is None else begin(topic, group)


def tracing_asked_by(environment: Mapping[str, str]) -> str | None:
    """Which of OpenTelemetry's own variables turns tracing on, if any; it takes an empty one for none."""
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    return next((name for name in _TURNING_ON if environment.get(name, "").strip()), None)
