"""What keeps the worker from being ready, and a log that stays readable while it does."""

from collections.abc import Callable
from typing import Final

import structlog

from pattern_metrics.consumer.faults.diagnosis import Diagnosis, Fault, said_by
from pattern_metrics.consumer.timing import CLOCK, Clock

logger = structlog.get_logger()

SAID_CHARACTERS_MAX: Final = 300

_UNASSIGNED: Final = "the group has assigned no partitions yet, or none of them can be read"

REMINDER_SECONDS: Final = 30.0
"""How often a condition that lasts is logged again."""


class Health:
    """The conditions under which the worker is not ready; each is logged when it begins, lasts and ends.

    Args:
        clock: measures how long a condition lasts.
        on_failure: told the component and whose fault it is, each time that one is reported.

    Attributes:
        is_assigned: whether the group has given this worker its partitions, and it knows where to read them.
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
        """Component → what is wrong with it; empty when everything works."""
        return dict(self._conditions)

    @property
    def obstacles(self) -> dict[str, str]:
        """Component → why the worker is not ready; empty when it is."""
        unassigned = {} if self.is_assigned else {"assignment": _UNASSIGNED}
        return self.conditions | unassigned

    def fail(self, component: str, error: BaseException | str, hint: str, **details: object) -> None:
        """Say that a component keeps the worker from working; logged at once, then as a reminder.

        Args:
            component: which one.
            error: what failed, or its name.
            hint: what to do; the condition lasts as long as it is the same.
            details: fields that only the log has.
        """
        now = self._clock.monotonic()
        name = error if isinstance(error, str) else type(error).__name__
        is_news = self._conditions.get(component) != hint
        self._conditions[component] = hint
        self._since.setdefault(component, now)
        if is_news or now - self._logged[component] >= REMINDER_SECONDS:
            self._logged[component] = now
            seconds = round(now - self._since[component], 1)
            told = {"component": component, "error": name, "hint": hint, "seconds": seconds}
            logger.warning("not_ready", **told, **details)

    def report(self, component: str, error: BaseException, diagnosis: Diagnosis) -> None:
        """As `fail`, for an error that was diagnosed, and after which it is tried again."""
        self._on_failure(component, diagnosis.fault)
        sqlstate = getattr(error, "sqlstate", None)
        name = f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__
        said = said_by(error)[:SAID_CHARACTERS_MAX]
        self.fail(component, name, diagnosis.hint, **({} if said == diagnosis.hint else {"said": said}))

    def recover(self, component: str) -> None:
        """Say that a component works (again)."""
        if self._conditions.pop(component, None) is not None:
            seconds = round(self._clock.monotonic() - self._since.pop(component), 1)
            self._logged.pop(component)
            logger.info("recovered", component=component, seconds=seconds)
