"""What was wrong with the lines of a file that were refused."""

from dataclasses import dataclass, field

from pattern_metrics.schemas.dead_letter import RejectReason


@dataclass(slots=True)
class Refusals:
    """The refused lines of a file, by reason.

    Attributes:
        count: how many there were.
        reasons: for each, what was wrong with the first line.
    """

    count: int = 0
    reasons: dict[RejectReason, str] = field(default_factory=dict)

    def add(self, reason: RejectReason, why: str) -> None:
        """Count a refused line."""
        self.count += 1
        self.reasons.setdefault(reason, why)

    def shared_by_all(self, read: int) -> str | None:
        """What is wrong with each of the lines that were read, where it is one thing; else None.

        Most likely the file is then another one than its reader takes it for. A single line proves nothing.
        """
        is_all = 1 < self.count == read
        return next(iter(self.reasons.values())) if is_all and len(self.reasons) == 1 else None
