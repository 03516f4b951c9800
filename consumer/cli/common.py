"""Shared by all commands: settings, the event loop, and errors as one line.

It is imported for `--help` too, so libraries are imported only where a command runs.
"""

import gc
import os
import re
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TypeVar, cast

import typer
from typer.core import TyperGroup
from typing_extensions import override

from pattern_metrics.consumer.cli.output import OutputError, fail, printable, tell, writing
from pattern_metrics.consumer.dead_letters.selection import Coordinates, parse_coordinates
from pattern_metrics.schemas import extras

if TYPE_CHECKING:
    import asyncio
    from io import BufferedReader

    import structlog

    from pattern_metrics.consumer.faults.diagnosis import Diagnosis
    from pattern_metrics.consumer.operations.files.recognition import Measurements
    from pattern_metrics.consumer.settings import SettingsT
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

T = TypeVar("T")

DatabaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="The PostgreSQL database. Takes precedence over the setting DATABASE_URL.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object, on the last line of stdout.")
]

ENV_FILE_OPTION: Final = "--env-file"

TIME_FORMS: Final = "an RFC 3339 time with an offset, or an age such as 2y, 90d, 12h or 30m"

OPEN_FILES_MIN: Final = 128
"""Enough for all HTTP connections, and as many files again for brokers, database and modules."""

_UNITS: Final = {
    "y": timedelta(days=365),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
}

KAFKA = "Kafka (KAFKA_BOOTSTRAP_SERVERS)"
POSTGRESQL = "PostgreSQL (DATABASE_URL or --database-url)"

COLLECT_AFTER: Final = 100_000
"""Containers allocated and not freed before the garbage collector runs: more than a batch holds."""


class Commands(TyperGroup):
    """Commands whose help shows their first sentence in full, and which name the extra that they lack.

    Each command accepts --env-file after its name as well.
    """

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            shared = [option for option in ctx.find_root().command.params if ENV_FILE_OPTION in option.opts]
            command.params += [option for option in shared if option not in command.params]
            for argument in cast("list[Any]", command.params):
                if argument.param_type_name == "argument":
                    argument.display_type_rich = lambda **_: None  # such as <list[Path]> beside PATH
        return command

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            _, *words = f"{ctx.command_path} {ctx.invoked_subcommand}".split()
            if advice := extras.advice(error, " ".join(words)):
                fail(f"error: {advice}", 2)
            raise

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        shown = [(name, command) for name, command in self.commands.items() if not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(sys.maxsize)) for name, command in shown])


def coordinates(text: str) -> Coordinates:
    """Read TOPIC/PARTITION/OFFSET.

    Raises:
        typer.BadParameter: the text has another form.
    """
    try:
        return parse_coordinates(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time with an offset, or an age.

    Raises:
        typer.BadParameter: the text is neither, or has no offset.
    """
    ago = re.fullmatch(r"([0-9]+)([ydhm])", text)
    try:
        if ago:
            return datetime.now(UTC) - int(ago[1]) * _UNITS[ago[2]]
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "is neither an RFC 3339 time nor a duration such as 2y, 90d, 12h or 30m"
        ) from None
    if moment.tzinfo is None:
        raise typer.BadParameter("has no offset: end it with Z or +HH:MM")
    return moment


def use_env_file(path: str | None) -> None:
    """Also read the settings of this process and its children from a file. A useless file ends the command.

    Args:
        path: the value of the option --env-file.
    """
    from pattern_metrics.schemas.settings.variables import ENV_FILE, EnvFileError, find_variables

    if path is None:
        return
    os.environ[ENV_FILE] = path
    try:
        find_variables(())
    except EnvFileError as error:
        fail(f"error: {ENV_FILE_OPTION}: {error}", 2)


def load_settings(settings_class: "type[SettingsT]", database_url: str | None = None) -> "SettingsT":
    """Read settings. A missing or wrong setting ends the command with exit code 2.

    Args:
        settings_class: the settings to read.
        database_url: the value of the option --database-url, if the command has it.
    """
    from pattern_metrics.consumer.settings import InvalidSettingError, load

    try:
        return load(settings_class, {} if database_url is None else {"database_url": database_url})
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)


def start_logging() -> None:
    """Start logging for a command that runs once. The command reports errors, not aiokafka's log."""
    import logging

    from pattern_metrics.consumer.settings import LogSettings
    from pattern_metrics.consumer.telemetry.logs import configure_logging

    configure_logging(load_settings(LogSettings), library_level=logging.CRITICAL)


def log() -> "structlog.stdlib.BoundLogger":
    """Return the logger for unexpected errors, which may come before a command has started logging."""
    import structlog

    if not structlog.is_configured():
        from pattern_metrics.consumer.settings import LogSettings
        from pattern_metrics.consumer.telemetry.logs import configure_logging

        configure_logging(LogSettings.model_construct())
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


def load_database_url(option: str | None) -> str:
    """Return the database's URL, for commands that need only the database, and start logging.

    Args:
        option: the value of the option --database-url.
    """
    from pattern_metrics.consumer.settings import DatabaseSettings

    settings = load_settings(DatabaseSettings, option)
    start_logging()
    return settings.database_url.get_secret_value()


def load_topic_to_publish() -> "KafkaSettings":
    """Return the settings of the topic to publish to. Several topics end the command with exit code 2."""
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

    settings = load_settings(KafkaSettings)
    if len(settings.kafka_topics) > 1:
        fail("error: KAFKA_TOPIC: names several topics; to publish, name one", 2)
    return settings


def tell_target(database_url: str | None = None, kafka: "KafkaSettings | None" = None) -> None:
    """Print the database and the topic of a command before it begins, without any login.

    Args:
        database_url: None for a command without a database.
        kafka: None for a command without a topic.
    """
    from pattern_metrics.schemas.settings.database_url import parse_database_url

    targets = list[str]()
    if database_url is not None:
        targets.append(f"database {parse_database_url(database_url).place}")
    if kafka is not None:
        targets.append(f"topic {kafka.kafka_topic} at {kafka.kafka_bootstrap_servers}")
    tell(printable("; ".join(targets)))


@contextmanager
def tracing() -> Iterator[None]:
    """Export the spans of this block if OpenTelemetry's variables turn tracing on.

    An extra that is missing or a variable that is wrong ends the command with exit code 2.
    """
    from pattern_metrics.consumer.settings import InvalidSettingError
    from pattern_metrics.consumer.telemetry.tracing import tracing_asked_by

    with ExitStack() as stack:
        variable = tracing_asked_by(os.environ)
        if variable is not None:
            try:
                from pattern_metrics.consumer.telemetry.spans import exporting

                stack.enter_context(exporting())
            except ModuleNotFoundError as error:
                if advice := extras.advice(error, f"{variable}:"):
                    fail(f"error: {advice}", 2)
                raise
            except InvalidSettingError as error:
                fail(f"error: {error}", 2)
        yield


@contextmanager
def writing_output(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes a command's data (see `output.writing`). A failure ends the command."""
    try:
        with writing(path) as write:
            yield write
    except OutputError as error:
        fail(f"error: {error}", 1)


class CommandFailedError(Exception):
    """A command failed, but not by a bug of its own.

    Attributes:
        line: the message, with the names of the variables that the user has set.
        code: the exit code.
        error: the error itself, if there was one.
    """

    def __init__(self, line: str, code: int, error: Exception | None = None) -> None:
        from pattern_metrics.schemas.settings.variables import with_variables

        self.line = with_variables(line)
        super().__init__(self.line)
        self.code = code
        self.error = error


def run(work: Coroutine[Any, Any, T], about: str) -> T:
    """Run a command's work. An error that is not a bug ends the command with one line that names the server.

    Args:
        work: the work.
        about: the server of an error that does not name one, KAFKA or POSTGRESQL.
    """
    try:
        return attempt(work, about)
    except CommandFailedError as failed:
        fail(failed.line, failed.code)


def attempt(work: Coroutine[Any, Any, T], about: str) -> T:
    """Run a part of a command's work.

    Raises:
        CommandFailedError: an error that is not a bug.
    """
    import asyncio

    _collect_seldom()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except asyncio.CancelledError:
        log().warning("stopped_at_once", hint="by a second signal; the rest is read again")
        raise typer.Exit(1) from None
    except Exception as error:
        from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose

        diagnosis = diagnose(error)
        if diagnosis.fault is Fault.UNKNOWN:
            raise
        line = _line(error, diagnosis, about)
        raise CommandFailedError(line, 2 if diagnosis.fault is Fault.CONFIGURATION else 1, error) from None


def _line(error: Exception, diagnosis: "Diagnosis", about: str) -> str:
    from pattern_metrics.consumer.faults.diagnosis import (
        Fault,
        detail_and_hint,
        is_of_postgresql,
        server_of,
    )
    from pattern_metrics.schemas.settings.variables import hint_at_unread_file

    detail, hint = detail_and_hint(error)
    server = server_of(error)
    if is_of_postgresql(error) or (server and server.startswith("PostgreSQL")):
        about = POSTGRESQL
    elif server:
        about = KAFKA
    if server:
        detail = detail.replace(f"; {server}", "", 1)
        about = f"{server} {about[about.index('(') :]}"
    if diagnosis.fault is Fault.CONFIGURATION and not (hint and diagnosis.is_general):
        hint = diagnosis.hint
    line = f"error: {about}: {detail}" + (f"; {hint}" if hint and not detail.startswith(hint) else "")
    return line + (hint_at_unread_file("kafka_bootstrap_servers") if "KAFKA" in about else "")


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """Return the factory of uvloop, which the extra `worker` installs; None for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _collect_seldom() -> None:
    """Run the garbage collector less often, and never on objects that live as long as the process.

    Records and events contain no cycles: reference counts free them. A full batch of them is always alive, so
    by default a full collection would walk through all of it every few thousand records.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def input_size(file: IO[bytes]) -> int | None:
    """Return the size of a regular file in bytes; None for a pipe. An unreadable file ends the command."""
    try:
        os.read(file.fileno(), 0)
    except OSError as error:
        fail(f"error: standard input: {error}", 1)
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


FILES_HELP: Final = (
    "The file to read: JSON Lines, a JSON array, CSV with a header, or Parquet, also compressed by gzip or "
    "zstd. With - it is standard input."
)


def read_file(file: BinaryIO) -> "Measurements":
    """Recognise a file of measurements. Any other file ends the command before anything is written."""
    from pattern_metrics.consumer.operations.files.recognition import read_measurements
    from pattern_metrics.consumer.operations.files.source import InvalidSourceError

    try:
        return read_measurements(cast("BufferedReader", file))
    except InvalidSourceError as error:
        fail(f"error: {file.name}: {error}", 2)


def tell_misunderstanding(why: str | None, count: int, hint: str) -> None:
    """Report that all lines were refused for one reason: the file is most likely not the intended one.

    Args:
        why: the reason; None if the lines have no common one.
        count: the number of lines.
        hint: what to do.
    """
    if why is not None:
        tell(
            f"each of the {count:,} lines is refused for the same reason ({why}). Is this the right file? "
            f"{hint}"
        )


def require_open_files() -> None:
    """End a worker whose limit of open files is too low with one line, before anything else fails."""
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit < OPEN_FILES_MIN:
            fail(f"error: only {limit} files may be open: raise the limit (ulimit -n) to {OPEN_FILES_MIN}", 2)
