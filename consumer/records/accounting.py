"""What became of the records that were read, and the breaker that guards the dead letters."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of the records read: `read == applied + superseded + dead_letters`, always."""

    applied: int = 0
    superseded: int = 0
    dead_letters: int = 0

    @property
    def read(self) -> int:
        """All records that were read."""
        return self.applied + self.superseded + self.dead_letters

    def __add__(self, other: "Accounting") -> "Accounting":
        return Accounting(
            self.applied + other.applied,
            self.superseded + other.superseded,
            self.dead_letters + other.dead_letters,
        )

    def as_dict(self) -> dict[str, int]:
        """The four numbers, for a program."""
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
    """Guards the table of dead letters: opens after `limit` invalid records without a valid one between.

    What only the database refuses is known once the batch is written and the next one decoded; hence it is
    counted by itself, and by whole batches.
    """

    limit: int
    consecutive: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    def observe(self, *, valid: bool) -> None:
        """Count a record that was decoded, or several valid ones."""
        self.consecutive = 0 if valid else self.consecutive + 1

    def observe_written(self, accounting: Accounting) -> None:
        """Count the records of a batch that was written, where the table took none of them."""
        is_any_valid = accounting.applied + accounting.superseded > 0
        self.refused = 0 if is_any_valid else self.refused + accounting.dead_letters

    @property
    def count(self) -> int:
        """How many records in a row were invalid, at least."""
        return max(self.consecutive, self.refused)

    @property
    def is_open(self) -> bool:
        """Whether a producer was, most likely, deployed with a wrong schema."""
        return self.count >= self.limit
