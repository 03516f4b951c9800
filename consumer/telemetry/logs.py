"""Logs: structlog on standard error, with one constant event name per line and everything else as fields."""

import atexit
import logging
import os
import queue
import sys
import threading
from contextlib import suppress
from typing import Final

import structlog
from typing_extensions import override

from pattern_metrics.consumer.settings import LogSettings
from pattern_metrics.schemas.settings.timing import CLOCK, Clock

REPEAT_SECONDS: Final = 30.0
"""Seconds within which a message of a library is not repeated."""


LINES_MAX: Final = 1000
"""Lines that wait for the reader of the log. Further lines are dropped."""

LOG_FLUSH_SECONDS_MAX: Final = 2.0
"""Longest wait for the reader of the log when the process ends."""

logger = structlog.get_logger()


class PatientStream:
    """A stream that takes each line at once, and writes it in its own thread when the reader takes it.

    A pipe that nobody reads must not block the worker. Lines that find no room are dropped and counted.

    Args:
        descriptor: the file's number. Python's own stream would stay locked while a write does not return.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines = queue.Queue[bytes](LINES_MAX)
        self._dropped = 0
        threading.Thread(target=self._write_all, name="log", daemon=True).start()
        atexit.register(self.flush_within, LOG_FLUSH_SECONDS_MAX)

    def write(self, text: str) -> None:
        """Take a line. One thread calls it at a time, because the handler holds its lock."""
        try:
            self._lines.put_nowait(text.encode(errors="backslashreplace"))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def flush_within(self, seconds: float) -> None:
        """Wait until all lines are written, but no longer than `seconds`."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            with suppress(OSError):  # a full disk or a reader that has gone: it can be reported nowhere
                while line:
                    line = line[os.write(self._descriptor, line) :]
            if self._dropped and self._lines.empty():
                dropped, self._dropped = self._dropped, 0
                logger.warning("log_lines_dropped", lines=dropped, hint="the reader of the log was too slow")
            self._lines.task_done()


class RepeatFilter(logging.Filter):
    """Passes each message of aiokafka once per `REPEAT_SECONDS`, with the number of repetitions it held back.

    aiokafka writes some fifty lines a second while its broker is away.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        super().__init__()
        self._said_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        template, now = str(record.msg), self._clock.monotonic()
        if now - self._said_at.get(template, -REPEAT_SECONDS) < REPEAT_SECONDS:
            self._held_back[template] = self._held_back.get(template, 0) + 1
            return False
        self._said_at[template] = now
        if template in self._held_back:
            record.__dict__["held_back"] = self._held_back.pop(template)
        return True


def configure_logging(
    settings: LogSettings,
    *,
    library_level: int = logging.WARNING,
    is_patient: bool = False,
    process: int | None = None,
) -> None:
    """Log our events, and those of aiokafka and mcp from `library_level` on, to standard error in one form.

    Args:
        settings: level and form.
        library_level: lowest level at which their messages are logged.
        is_patient: whether lines that nobody reads are dropped, instead of waited for.
        process: number of this process, if there are several. Each line then has it, from any logger.
    """
    use_console = settings.log_format == "console" or (settings.log_format is None and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
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
    fields = {} if process is None else {"process": process}
    handler = logging.StreamHandler(PatientStream(sys.stderr.fileno()) if is_patient else sys.stderr)
    handler.addFilter(RepeatFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _name, line: {**line, **fields},
                *renderers,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(True)  # for example asyncpg's, about a password file that others may read
    for library in ("aiokafka", "mcp"):
        logging.getLogger(library).setLevel(max(library_level, root.level))
