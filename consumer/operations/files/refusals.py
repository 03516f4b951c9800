"""The faults of refused lines of a file."""

from dataclasses import dataclass, field

from pattern_metrics.schemas.dead_letter import RejectReason


@dataclass(slots=True)
class Refusals:
    """The refused lines of a file, by reason.

    Attributes:
        count: the number of refused lines.
        reasons: for each reason, the fault of the first line.
    """

    count: int = 0
    reasons: dict[RejectReason | str, str] = field(default_factory=dict)

    def add(self, reason: RejectReason | str, why: str) -> None:
        """Count a refused line."""
        self.count += 1
        self.reasons.setdefault(reason, why)

    def shared_by_all(self, read: int) -> str | None:
        """Return the fault of all lines that were read, if they share one; otherwise None.

        If they do, the file is most likely not of the kind that it is read as. A single line proves nothing.
        """
        is_all = 1 < self.count == read
        return next(iter(self.reasons.values())) if is_all and len(self.reasons) == 1 else None
