"""Counts of what became of the records that were read, and the breaker that guards the dead letters."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Accounting:
    """The outcome of the records read: `read == applied + superseded + dead_letters`, always.

    Attributes:
        applied: records whose event was written: it superseded the row of its pattern, or the pattern had no
            row.
        superseded: valid records that changed nothing, because the table or the same batch holds an event of
            that pattern with the same or a greater order.
        dead_letters: records that did not decode, or that PostgreSQL refused. Each is kept with its bytes and
            the reason.
    """

    applied: int = 0
    superseded: int = 0
    dead_letters: int = 0

    @property
    def read(self) -> int:
        """The number of records that were read, from a topic, a file or the dead letters."""
        return self.applied + self.superseded + self.dead_letters

    def __add__(self, other: "Accounting") -> "Accounting":
        return Accounting(
            self.applied + other.applied,
            self.superseded + other.superseded,
            self.dead_letters + other.dead_letters,
        )

    def as_dict(self) -> dict[str, int]:
        """Return the four numbers as JSON has them."""
        return {
            "read": self.read,
            "applied": self.applied,
            "superseded": self.superseded,
            "dead_letters": self.dead_letters,
        }

    def __str__(self) -> str:
        return (
            f"read {self.read:,} = applied {self.applied:,} + superseded {self.superseded:,} "
            f"+ dead letters {self.dead_letters:,}"
        )


@dataclass(slots=True)
class Breaker:
    """Guards the table of dead letters: opens after `limit` invalid records without a valid record between.

    PostgreSQL's refusals are known only after the batch is written, when the next batch is already decoded.
    They are therefore counted separately, by whole batches.

    Attributes:
        limit: DEAD_LETTER_MAX_CONSECUTIVE.
        consecutive: records in a row that did not decode.
        refused: records in a row that became dead letters, by whole batches.
    """

    limit: int
    consecutive: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    def observe(self, *, valid: bool) -> None:
        """Count one decoded record, or several valid records."""
        self.consecutive = 0 if valid else self.consecutive + 1

    def observe_written(self, accounting: Accounting) -> None:
        """Count the records of a written batch, if all of them became dead letters."""
        is_any_valid = accounting.applied + accounting.superseded > 0
        self.refused = 0 if is_any_valid else self.refused + accounting.dead_letters

    @property
    def count(self) -> int:
        """The least number of records in a row that were invalid."""
        return max(self.consecutive, self.refused)

    @property
    def is_open(self) -> bool:
        """True after `limit` invalid records in a row: most likely a producer's schema is wrong."""
        return self.count >= self.limit
