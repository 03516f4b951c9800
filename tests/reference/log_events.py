"""The page of log events: each call of the loggers in the code, joined with its meaning here."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pattern_metrics.consumer.records.accounting import Accounting
from tests.reference.text import page, paragraphs, wrapped

ROOT: Final = Path(__file__).parents[2]

MEANINGS: Final = {
    "answer_failed": """
        A request over HTTP met a fault of the program and got status 500; the traceback is in `exception`.
        Please report it.""",
    "batch_written": """
        Batches were written to PostgreSQL since the last such line; at most one line a second. The first four
        numbers are sums over these `batches`. `lag` counts the records that wait in the assigned partitions.
        `write_ms_max` and `commit_ms_max` are the milliseconds of the slowest write and commit.""",
    "client_rebuilt": """
        The Kafka client stalled and was replaced. Look at the brokers if it repeats. After three
        replacements without progress the worker exits with 1.""",
    "clocks_agree": "This machine's clock and PostgreSQL's are at most 5 s apart again.",
    "clocks_differ": """
        This machine's clock and PostgreSQL's are over 5 s apart: `seconds` is positive if PostgreSQL's is
        ahead. The line comes once for each change. Synchronise both by NTP. Until then the later of the two
        decides which measurements are in the future.""",
    "commit_superseded": """
        Kafka refused a commit, because the group has rebalanced. The new owner of the partitions reads the
        batch again. Nothing to do.""",
    "database_went_back": """
        PostgreSQL lacks rows that had been written: after a restore, or a failover with loss. Nothing to do:
        the worker reads again from where the database is.""",
    "failed": """
        A command or the worker failed by an unexpected error; the traceback is in `exception`. The exit code
        is 1. Please report it.""",
    "fork_server_ended": """
        With `--processes`: the process that starts the others has ended. The worker goes on, but cannot
        start a process again. Restart the worker.""",
    "gap": """
        Retention removed records before this worker read them: `first_offset` to `last_offset`. The table
        `ingest_gaps` keeps the gap. Publish these measurements again, if you still have them.""",
    "group_offset_not_followed": """
        The group's committed offset is ahead of the database (`written_to`): somebody moved it with
        `kafka-consumer-groups`, or the database was restored. Reading goes on from where the database is.
        Nothing to do, or `pattern-metrics skip` if records are to be passed over.""",
    "group_offset_forgotten": """
        The group has no committed offset, but the database has progress: the topic was recreated, Kafka
        deleted the offset, or a worker ended before it committed one. Nothing to do: the topic is read from
        its beginning.""",
    "http_failed": """
        The HTTP server failed by an unexpected error; the traceback is in `exception`. The worker goes on
        without HTTP. Please report it.""",
    "http_is_off": """
        The default port of HTTP is in use, and neither `HTTP_HOST` nor `HTTP_PORT` is set. The worker goes
        on without HTTP. Set `HTTP_PORT`.""",
    "http_started": "HTTP is served at this address and port.",
    "leave_failed": """
        The worker could not leave the consumer group in time. The group waits for the session's time-out (10
        s) before it assigns the partitions again.""",
    "log_lines_dropped": """
        The reader of standard error was so slow that this number of lines was dropped. Records are not
        affected.""",
    "log_parted": """
        The log was cut back (an unclean election, a restored volume) and is no longer the log that was read.
        Nothing to do here: it is read from where the logs part. `first_offset` to `last_offset` are the
        offsets whose records the topic has lost, and the table `ingest_gaps` keeps them.""",
    "message_unreadable": """
        A client of `mcp` sent a line that is no message of JSON-RPC 2.0 and has no id, so that no answer is
        possible.""",
    "migration_notice": """
        A message of PostgreSQL or of a revision during `migrate`. A warning names something that was left
        out, such as roles that could not be created.""",
    "new_topic_id": """
        The database knows a topic of this name with another ID: the topic was recreated, or is of [another
        cluster](../how-to/move-to-another-cluster.md). Nothing to do: it is read from its beginning.""",
    "not_ready": """
        A component keeps the worker, or the page, from working. The line is repeated every 30 s. `hint` says
        what to do; `said` holds the words of the server, the driver or the system, if there are any. The
        worker goes on by itself when the cause is gone.

        `component` is `postgresql` or `kafka` with the hint “not reachable”: an outage, or a demoted
        primary. Nothing to do. With any other hint: a missing table, right, topic or login.

        `component` is `commit`: the rows are written, but the group's offsets are not, because the group has
        lost a right or its coordinator does not answer. Nothing is lost or written twice, but a restart
        would read the records again.

        `component` is `breaker`: too many invalid records in a row. Run `pattern-metrics dead-letters list`,
        correct the producer, and restart the worker.""",
    "overtaken_by_retention": """
        `replay` or `verify` was overtaken by retention: the records that it wanted to read are gone. It goes
        on at `offset`, the partition's new beginning.""",
    "outbox_not_flushed": """
        The gateway could not deliver the events of its outbox, for this reason. They stay, and it tries again
        by itself.""",
    "outbox_refused": """
        Kafka refused this number of events of the gateway's outbox for good. `pattern-metrics outbox status`
        shows the reasons, `outbox export --refused` the events.""",
    "partitions_assigned": "The group assigned these partitions to this worker.",
    "partitions_available": "Partitions that were unavailable have a leader again, and are read.",
    "partitions_unavailable": """
        Assigned partitions cannot be read, because they have no leader or their leader does not answer. The
        worker reads the other partitions and stays ready, and reads these as soon as they have a leader. Look
        at the brokers: `said` has the reason.""",
    "position_beyond_the_log": """
        The worker's position lies beyond the end of the partition: the topic was recreated or truncated.
        Nothing to do: the partition is read from its beginning.""",
    "process_ended": """
        With `--processes`: a process ended for this reason. It is started again, unless it ended more than
        5 times within 10 minutes; then the worker stops and exits with 1.""",
    "process_killed": """
        With `--processes`: a process did not end in time, and was killed. The exit code is 1.""",
    "process_not_started": """
        With `--processes`: a process could not be started, because the system lacks memory, processes or
        open files.""",
    "process_started": "With `--processes`: a process was started.",
    "reading_from": """
        The offset from which a partition is read, after an assignment or after `database_went_back`.""",
    "recovered": "A component that was not ready is ready again, after this number of seconds.",
    "revoked_with_a_batch_in_flight": """
        The group took partitions away before their batch was written. The new owner reads its records again.
        Nothing to do.""",
    "spans_not_exported": """
        The OpenTelemetry collector does not accept spans. The line comes at most once a minute. Records are
        not affected.""",
    "stop_requested": """
        A signal asked the process to stop. It finishes its batch first; a second signal stops it at
        once.""",
    "stopped_at_once": """
        A second signal stopped the command. The exit code is 1. The records in flight are read again.""",
    "stopped_with_a_batch_in_flight": """
        The grace time was over before the last batch was written, as when PostgreSQL does not answer. Its
        records are read again after the next start. Nothing to do.""",
    "supervisor_gone": "With `--processes`: the supervisor has ended, so this process stops cleanly.",
    "supervisor_started": "With `--processes`: the supervisor starts this number of processes.",
    "supervisor_stopped": """
        With `--processes`: all processes have ended. The numbers are those of all processes.""",
    "tokens_not_read": """
        The file of the tokens has changed and cannot be used, for the reason in `hint`. The tokens before the
        change count until it can.""",
    "tokens_read": "The file of the tokens has changed and was read again.",
    "tool_crashed": """
        A tool of `mcp` failed by an unexpected error; the traceback is in `exception`. The model got no
        detail of it. Please report it.""",
    "tool_failed": """
        A tool of `mcp` could not be answered, for the reason in `hint`. The model got the reason without
        names of servers and files.""",
    "transaction_open": """
        A producer's transaction has been open in this partition for two observations (15 s), and holds
        back `held_back` offsets from `offset` on. The [runbook](../how-to/runbook.md#open-transaction) says
        how to find and to abort it. The line comes once, until that transaction ends.""",
    "worker_started": "The worker starts to read this topic as a member of this consumer group.",
    "worker_stopped": "The worker has ended. The numbers count all records since its start.",
}
"""The meaning of each event, and what to do."""

_INTRODUCTION: Final = """
Logs go to standard error: one line per event, as JSON or for the console (`LOG_FORMAT`). Each line has
`event` (one of these constant names), `level`, `logger` (the module) and `timestamp` (UTC); with
`--processes`, each line of a process has `process`, its number. The fields of each event are listed here.
`LOG_LEVEL` sets the least level.

Messages of aiokafka, and of Python's warnings, appear in the same form with the library's own text as
`event`. The same message of aiokafka appears at most every 30 s; `held_back` counts the messages that were
left out.
"""

_LEVELS: Final = {"exception": "error", "log": "info or warning"}

_METHODS: Final = ("debug", "info", "warning", "error", "exception", "critical", "log")

_LOGGERS: Final = ("logger", "log()")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a logger.

    Attributes:
        event: the name of the event.
        level: its level.
        logger: the module, as the log names it.
        fields: the names of the fields.
    """

    event: str
    level: str
    logger: str
    fields: tuple[str, ...]


def calls() -> list[Call]:
    """Return each call of a logger in the product's code.

    Raises:
        ValueError: the name of an event is not a constant.
    """
    paths = sorted(
        path
        for room in ("consumer", "publisher", "schemas", "migrations")
        for path in ROOT.joinpath(room).rglob("*.py")
    )
    return [call for path in paths for call in _calls_in(path)]


def _calls_in(path: Path) -> Iterator[Call]:
    logger = ".".join(("pattern_metrics", *path.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=method)) if (
                method in _METHODS and ast.unparse(value) in _LOGGERS
            ):
                match node.args[-1:]:
                    case [ast.Constant(value=str(event))]:
                        yield Call(event, _LEVELS.get(method, method), logger, tuple(_fields(node)))
                    case _:
                        raise ValueError(f"{path}:{node.lineno}: the name of a log event is a constant")


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        elif ast.unparse(keyword.value).endswith(".as_dict()"):  # of an `Accounting`
            yield from Accounting().as_dict()


def log_events_page() -> str:
    """Return each event with its level, its fields, its loggers and its meaning."""
    by_event = defaultdict[str, list[Call]](list)
    for call in calls():
        by_event[call.event].append(call)
    blocks = [*paragraphs(_INTRODUCTION)]
    for event, found in sorted(by_event.items()):
        blocks += [f"## `{event}`", wrapped(_summary(found)), *paragraphs(MEANINGS.get(event, ""))]
    return page("Log events", "the code and tests/reference/log_events.py", blocks)


def _summary(found: list[Call]) -> str:
    levels = " or ".join(dict.fromkeys(call.level for call in found))
    loggers = ", ".join(f"`{call.logger}`" for call in found)
    fields = ", ".join(
        f"`{field}`" for field in dict.fromkeys(field for call in found for field in call.fields)
    )
    return f"Level {levels}; logger {loggers}" + (f"; fields {fields}." if fields else ".")
