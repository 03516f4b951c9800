"""The conditions under which the worker is not ready, logged without flooding the log."""

from collections.abc import Callable
from typing import Final

import structlog

from pattern_metrics.consumer.faults.diagnosis import Diagnosis, Fault, said_by
from pattern_metrics.schemas.settings.timing import CLOCK, Clock

logger = structlog.get_logger()

SAID_CHARACTERS_MAX: Final = 300

_UNASSIGNED: Final = "the group has assigned no partitions yet, or none of them can be read"

REMINDER_SECONDS: Final = 30.0
"""Seconds after which a condition that lasts is logged again."""


class Health:
    """The conditions under which the worker is not ready. Each is logged when it begins, lasts and ends.

    Args:
        on_failure: called with the component and the class of the error at each `report`.
        clock: measures how long a condition lasts.

    Attributes:
        is_assigned: whether the group has assigned partitions to this worker and their start offsets are
            known.
    """

    def __init__(
        self,
        on_failure: Callable[[str, Fault], None] = lambda _component, _fault: None,
        clock: Clock = CLOCK,
    ) -> None:
        self._clock = clock
        self.is_assigned = False
        self._on_failure = on_failure
        self._conditions: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._logged: dict[str, float] = {}

    @property
    def conditions(self) -> dict[str, str]:
        """The fault of each component that does not work; empty if all work."""
        return dict(self._conditions)

    @property
    def obstacles(self) -> dict[str, str]:
        """The reason per component why the worker is not ready; empty if it is ready."""
        unassigned = {} if self.is_assigned else {"assignment": _UNASSIGNED}
        return self.conditions | unassigned

    def fail(self, component: str, error: BaseException | str, hint: str, **details: object) -> None:
        """Record that a component does not work. Logged at once, then every `REMINDER_SECONDS`.

        Args:
            component: its name.
            error: the error, or its name.
            hint: what to do. The condition counts as the same as long as the hint is the same.
            details: fields for the log line alone.
        """
        now = self._clock.monotonic()
        name = error if isinstance(error, str) else type(error).__name__
        is_news = self._conditions.get(component) != hint
        self._conditions[component] = hint
        self._since.setdefault(component, now)
        if is_news or now - self._logged[component] >= REMINDER_SECONDS:
            self._logged[component] = now
            seconds = round(now - self._since[component], 1)
            logger.warning(
                "not_ready", component=component, error=name, hint=hint, seconds=seconds, **details
            )

    def report(self, component: str, error: BaseException, diagnosis: Diagnosis) -> None:
        """Record a diagnosed error, after which the operation is tried again; see `fail`."""
        self._on_failure(component, diagnosis.fault)
        sqlstate = getattr(error, "sqlstate", None)
        name = f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__
        said = said_by(error)[:SAID_CHARACTERS_MAX]
        self.fail(component, name, diagnosis.hint, **({} if said == diagnosis.hint else {"said": said}))

    def recover(self, component: str) -> None:
        """Record that a component works (again)."""
        if self._conditions.pop(component, None) is not None:
            seconds = round(self._clock.monotonic() - self._since.pop(component), 1)
            self._logged.pop(component)
            logger.info("recovered", component=component, seconds=seconds)
