"""The `OUTBOX_*` settings: where events wait until Kafka has acknowledged them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pattern_metrics.schemas.settings.base import Settings

WhenFull = Literal["refuse", "block", "coalesce"]


class OutboxSettings(Settings):
    """The place and the bound of the outbox."""

    outbox_path: Path | None = Field(
        default=None,
        description="The file of the outbox, on a local disk. With it, a publisher stores each event there "
        "and returns once it is synced; it is delivered later, by this process or any other. Each user and "
        "each topic needs a file of its own. Without it, a publisher waits for Kafka.",
    )
    outbox_max_bytes: Annotated[int, Field(ge=1024 * 1024)] = Field(
        default=256 * 1024 * 1024,
        description="The most bytes of events that the outbox holds; each event counts 96 bytes beside its "
        "JSON and its headers. The file may be larger, because pages are not always full.",
    )
    outbox_when_full: WhenFull = Field(
        default="refuse",
        description="What happens to an event that does not fit: refuse (an error that names the event), "
        "block (wait for space for at most 30 s, then refuse) or coalesce (delete the events that a newer "
        "one of the same pattern supersedes, which loses history and no current row; refuse if that is "
        "not enough).",
    )
