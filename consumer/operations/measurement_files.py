"""Turns a file of measurements into records, which are then stored like records of the topic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pattern_metrics.consumer.operations.files.recognition import Measurements
from pattern_metrics.consumer.records.record import FILE_TOPIC_PREFIX, StoredRecord
from pattern_metrics.consumer.records.text import storable_text


@dataclass(frozen=True, slots=True)
class MeasurementSource:
    """Measurements of a file, as records: topic `file:NAME`, partition 0, the line's number as offset.

    Attributes:
        name: the file's name, without its directory.
        timestamp: when the file was written, in milliseconds since the epoch. A file that has changed since
            has its own dead letters.
        measurements: the content of the file.
    """

    name: str
    timestamp: int
    measurements: Measurements

    @classmethod
    def of(cls, path: Path, measurements: Measurements) -> Self:
        """Name the source of measurements. Input that is no file, such as a pipe, has the time of the run."""
        if not path.is_file():
            return cls("stdin", int(datetime.now(UTC).timestamp() * 1000), measurements)
        return cls(storable_text(path.name), int(path.stat().st_mtime * 1000), measurements)

    @property
    def topic(self) -> str:
        """The topic of the file's records."""
        return f"{FILE_TOPIC_PREFIX}{self.name}"

    def records(self, advance: Callable[[float], None]) -> Iterator[StoredRecord]:
        """Yield the lines that are not blank.

        Args:
            advance: called with the number of bytes of the file that are done since the last call;
                approximate.

        Raises:
            BrokenSourceError: the file cannot be read any further.
        """
        for part in self.measurements.parts:
            for number, line in part.lines:
                if line.strip():
                    yield StoredRecord(self.topic, 0, number, self.timestamp, line)
                advance(part.size / len(part.lines))
