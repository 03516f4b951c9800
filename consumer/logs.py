"""Logs: structlog on standard error, one constant event name a line, everything else as fields."""

import logging
import sys
import time
from typing import Final

import structlog
from typing_extensions import override

from consumer.settings import LogSettings

REPEAT_SECONDS: Final = 30.0
"""How often a library may repeat a message."""


class RepeatFilter(logging.Filter):
    """Lets aiokafka say the same thing only now and then, and then say how often it was held back.

    It writes some fifty lines a second while its broker is away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        template, now = str(record.msg), time.monotonic()
        if now - self._said_at.get(template, -REPEAT_SECONDS) < REPEAT_SECONDS:
            self._held_back[template] = self._held_back.get(template, 0) + 1
            return False
        self._said_at[template] = now
        if template in self._held_back:
            record.__dict__["held_back"] = self._held_back.pop(template)
        return True


def configure_logging(settings: LogSettings, *, library_level: int = logging.WARNING) -> None:
    """Send our events, and what aiokafka has to say from a level on, to standard error, in one form."""
    use_console = settings.log_format == "console" or (settings.log_format is None and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(allow=("held_back",)),
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if use_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(True)  # such as asyncpg's, of a password file that others may read
    logging.getLogger("aiokafka").setLevel(max(library_level, root.level))
