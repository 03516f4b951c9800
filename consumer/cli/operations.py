"""Commands of operators and data owners: replay, verify, backfill, skip, status."""

import dataclasses
import json
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from pattern_metrics.consumer.cli.common import (
    FILES_HELP,
    KAFKA,
    POSTGRESQL,
    TIME_FORMS,
    DatabaseUrlOption,
    JsonOption,
    coordinates,
    input_size,
    load_settings,
    parse_time,
    read_file,
    run,
    start_logging,
    tell_misunderstanding,
    tell_target,
)
from pattern_metrics.consumer.cli.outbox import find_outbox, outbox_file
from pattern_metrics.consumer.cli.output import fail, tell
from pattern_metrics.consumer.cli.progress import progress_bar
from pattern_metrics.consumer.dead_letters.selection import Coordinates

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

    from pattern_metrics.consumer.operations.skip import Target
    from pattern_metrics.consumer.operations.status import PartitionStatus, Status
    from pattern_metrics.consumer.operations.trace import Trace
    from pattern_metrics.publisher.outbox.file import OutboxFile

operations_app = typer.Typer()

DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Report what would be applied, and write nothing."),
]

_REFRESH_SECONDS = 2.0


@operations_app.command()
def replay(
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            parser=parse_time,
            metavar="TIME",
            help=f"Read records that were published at this time or later: {TIME_FORMS}.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to",
            parser=parse_time,
            metavar="TIME",
            help=f"Read records that were published before this time: {TIME_FORMS}.",
        ),
    ] = None,
    from_offset: Annotated[
        int, typer.Option(min=0, metavar="N", help="Read from this offset on, in each partition.")
    ] = 0,
    partition: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Read this partition only.")
    ] = None,
    pattern: Annotated[
        UUID | None,
        typer.Option(metavar="ID", help="Apply the records of this pattern only, whatever their keys are."),
    ] = None,
    dry_run: DryRunOption = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the topic, or a slice of it, into the table again.

    A replay creates no duplicate and lets no row go backwards, also while workers run. It does not change the
    offsets of any consumer group. Records of open dead letters that are stored now are marked as redriven. It
    can be interrupted at any point. It ends with the four numbers: read = applied + superseded +
    dead_letters.

    The partitions are read one after the other. As long as the topic does not change, a dry run and the
    replay after it therefore report the same numbers.
    """
    from pattern_metrics.consumer.kafka.topic import InvalidSliceError, Slice
    from pattern_metrics.consumer.operations.replay import replay as replay_slice
    from pattern_metrics.consumer.settings import WorkerSettings

    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("is not before --to", param_hint="--from")

    settings = load_settings(WorkerSettings, database_url)
    start_logging()
    tell_target(settings.database_url.get_secret_value(), settings)
    which = Slice(partition=partition, from_offset=from_offset, since=since, until=until)
    with progress_bar("replaying") as bar:
        work = replay_slice(settings, which, dry_run=dry_run, advance=bar.reach, pattern_id=pattern)
        try:
            accounting = run(work, KAFKA)
        except InvalidSliceError as error:
            fail(f"error: {error}", 2)
    typer.echo(json.dumps(accounting.as_dict()) if as_json else _sentence(accounting, dry_run=dry_run))


def _sentence(accounting: object, *, dry_run: bool) -> str:
    return f"would be: {accounting}; nothing was written" if dry_run else str(accounting)


@operations_app.command()
def trace(
    event_id: Annotated[UUID, typer.Argument(metavar="EVENT_ID", help="The event's id.")],
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="ID|NAME",
            help="The event's pattern. Its rows are found quickly, and its partition is read first.",
        ),
    ] = None,
    at: Annotated[
        Coordinates | None,
        typer.Option(
            parser=coordinates,
            metavar="TOPIC/PARTITION/OFFSET",
            help="The place of its record, as the publisher returned it.",
        ),
    ] = None,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what became of an event: where it is between the agent and the table.

    The command only reads. It looks at the outbox of OUTBOX_PATH, if that is set, and needs no server for an
    event that is there. Then it looks at the current rows, the history and the dead letters, and then at the
    topic: at the record's place, in the partition of the pattern, in all partitions. It reads the topic from
    ten minutes before the time that an event id of version 7 holds, and otherwise from the beginning.

    The state is one of: outbox (waits for delivery), refused (Kafka refused it for good, and the outbox keeps
    it), in_topic (not yet read by the group), current, superseded (another event is the row, and no history
    was kept), in_history, dead_letter, not_found.

    Exit code 1: the event was not found. The answer names what was searched.
    """
    from pattern_metrics.consumer.operations.trace import trace as trace_event
    from pattern_metrics.consumer.settings import WorkerSettings
    from pattern_metrics.schemas.pattern_id import pattern_id_from

    outbox, _ = find_outbox()
    found = _in_outbox(outbox, event_id) if outbox is not None else None
    if found is None:
        settings = load_settings(WorkerSettings, database_url)
        start_logging()
        tell_target(settings.database_url.get_secret_value(), settings)
        pattern_id = None if pattern is None else pattern_id_from(pattern)
        with progress_bar("searching") as bar:
            found = run(
                trace_event(settings, event_id, pattern_id=pattern_id, at=at, advance=bar.reach),
                KAFKA,
            )
        if outbox is not None:
            found = found.after(f"the outbox {outbox.path}")
    typer.echo(json.dumps(found.as_dict()) if as_json else _trace_text(found))
    if not found.is_found:
        raise typer.Exit(1)


def _in_outbox(outbox: "OutboxFile", event_id: UUID) -> "Trace | None":
    from pattern_metrics.consumer.operations.trace import trace_in_outbox

    with outbox_file(outbox):
        return trace_in_outbox(outbox, event_id)


def _trace_text(found: "Trace") -> str:
    from pattern_metrics.consumer.dead_letters.text import safe_text

    place = None if found.topic is None else f"{found.topic}/{found.partition}/{found.offset}"
    named = {
        "pattern": found.pattern_id,
        "measured": found.measurement_timestamp,
        "record": place,
        "published": found.published_at,
        "noted": found.noted_at,
        "superseded by": found.superseded_by,
        "measured at": found.superseding_timestamp,
        "reason": found.reason,
        "detail": found.detail,
        "searched": "; ".join(found.searched) or None,
    }
    lines = [f"  {name:<13}  {safe_text(str(value))}" for name, value in named.items() if value is not None]
    return "\n".join([f"{found.event_id}: {found.state}", *lines])


@operations_app.command()
def verify(
    against_topic: Annotated[
        bool,
        typer.Option(
            "--against-topic", help="Fold the topic by the same law, and compare the table with the result."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail also for rows that are newer than the topic or absent in it. Stop workers first: rows "
            "that they write meanwhile are newer.",
        ),
    ] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the table by itself and, with --against-topic, against the topic.

    The table is compared with everything that the group of KAFKA_GROUP_ID had written when the command began.
    Workers may go on. Each pattern is reported that is missing, older, different, newer or absent in the
    topic. Newer and absent rows may come from a backfill, or from records that retention has removed: they
    fail only with --strict. Dead letters are not part of the comparison.

    A row whose time lies beyond MAX_CLOCK_SKEW_SECONDS in the future always fails: no event supersedes it.

    Exit code 1: a check failed. Its line names the command that repairs the table, if there is one. The
    comparison also fails if the group has no progress in the topic, or its progress lies beyond the topic's
    end.
    """
    from pattern_metrics.consumer.operations.verification import (
        Check,
        check_table,
        check_times,
        compare_with_topic,
    )
    from pattern_metrics.consumer.settings import WorkerSettings

    settings = load_settings(WorkerSettings, database_url)
    start_logging()
    tell_target(settings.database_url.get_secret_value(), settings if against_topic else None)
    checks = run(check_table(settings), POSTGRESQL)
    report: dict[str, object] = {}
    is_sound = all(check.passed for check in checks)
    checks.append(run(check_times(settings), POSTGRESQL))
    if against_topic and not is_sound:
        checks.append(Check("the table is the fold of the topic", passed=False, detail="was not compared"))
    elif against_topic:
        with progress_bar("folding the topic") as bar:
            comparison = run(compare_with_topic(settings, bar.reach), KAFKA)
        report = comparison.accounting.as_dict() | {"differences": comparison.counts}
        checks += [comparison.check_progress(), comparison.check(strict=strict)]
    passed = all(check.passed for check in checks)
    if as_json:
        report |= {"passed": passed, "checks": [dataclasses.asdict(check) for check in checks]}
        typer.echo(json.dumps(report))
    else:
        for check in checks:
            typer.echo(str(check))
    if not passed:
        raise typer.Exit(1)


@operations_app.command()
def backfill(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help=FILES_HELP)],
    database_url: DatabaseUrlOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Read the first N lines only.")
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="NUMBER", help="Skip measurements with a lower confidence."),
    ] = 0.0,
    batch_size: Annotated[
        int,
        typer.Option(min=1, max=100_000, metavar="N", help="The number of measurements in a transaction."),
    ] = 1000,
    delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="The pause between two transactions.")
    ] = 0.0,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the measurements of a file into the table, by the worker's path and law, without Kafka.

    The format is recognised by the file's content. Running the command twice leaves the same table. A line
    without a valid measurement becomes a dead letter of the topic file:NAME and is reported by its number.

    Exit code 1: a line was refused, or the file could not be read to its end. Exit code 2: the file has none
    of the formats, and nothing was written.
    """
    from pattern_metrics.consumer.operations.backfill import BackfillRules
    from pattern_metrics.consumer.operations.backfill import backfill as backfill_source
    from pattern_metrics.consumer.operations.measurement_files import MeasurementSource
    from pattern_metrics.consumer.postgres.shadow import open_store
    from pattern_metrics.consumer.settings import DatabaseSettings
    from pattern_metrics.schemas.settings.clock import ClockSettings

    settings, clock = load_settings(DatabaseSettings, database_url), load_settings(ClockSettings)
    start_logging()
    total, measurements = input_size(file), read_file(file)
    source = MeasurementSource.of(Path(file.name), measurements)
    rules = BackfillRules(clock.accepted_until, limit, min_confidence, batch_size, delay)
    store = open_store(settings, dry_run=dry_run)
    tell_target(settings.database_url.get_secret_value())
    with progress_bar("backfilling", total=total, in_bytes=True) as bar:
        work = backfill_source(
            store, source, rules, lambda line, why: tell(f"{measurements.unit} {line}: {why}"), bar.advance
        )
        report = run(work, POSTGRESQL)
    hint = "Try --dry-run, which writes nothing"
    if not dry_run:
        hint += f"; `dead-letters discard --topic {source.topic}` closes these letters"
    tell_misunderstanding(report.refusals.shared_by_all(report.read), report.read, hint)
    if report.broken:
        tell(f"error: {file.name}: {report.broken}")
    typer.echo(json.dumps(report.as_dict()) if as_json else _sentence(report, dry_run=dry_run))
    if report.accounting.dead_letters or report.broken:
        raise typer.Exit(1)


def _parse_target(text: str) -> "Target":
    if text == "latest":
        return "latest"
    try:
        return int(text) if text.isdecimal() and text.isascii() else parse_time(text)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"is neither latest nor an offset, and {error}", param_hint="--to") from None


@operations_app.command()
def skip(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="latest|OFFSET|TIME",
            help=f"The end, an offset (with --partition), or the first record since: {TIME_FORMS}.",
        ),
    ],
    because: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which the gap keeps.")],
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Skip in this topic of KAFKA_TOPIC only.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Skip in this partition only.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be skipped, and write nothing.")
    ] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Skip records that nobody wants, and record them with the reason as a gap.

    The command moves the group's offsets in Kafka and the progress in the database. `kafka-consumer-groups`
    moves only the offsets. Stop the workers of the group before, and start them afterwards.
    """
    from pattern_metrics.consumer.kafka.topic import InvalidSliceError
    from pattern_metrics.consumer.operations.skip import SkipRefusedError, UnusableTargetError
    from pattern_metrics.consumer.operations.skip import skip as skip_records
    from pattern_metrics.consumer.settings import WorkerSettings

    if not because.strip():
        raise typer.BadParameter("say why", param_hint="--because")
    target = _parse_target(to)
    settings = load_settings(WorkerSettings, database_url)
    start_logging()
    tell_target(settings.database_url.get_secret_value(), settings)
    work = skip_records(settings, target, because, topic=topic, partition=partition, dry_run=dry_run)
    try:
        skips = run(work, KAFKA)
    except (UnusableTargetError, InvalidSliceError) as error:
        fail(f"error: {error}", 2)
    except SkipRefusedError as error:
        fail(f"error: {error}", 1)
    offsets = sum(one.offsets for one in skips)
    if as_json:
        typer.echo(json.dumps({"offsets": offsets, "skipped": [dataclasses.asdict(one) for one in skips]}))
        return
    for one in skips:
        last = one.next_offset - 1
        typer.echo(
            f"{one.topic} partition {one.partition}: offsets {one.first_offset} to {last} ({one.offsets:,})"
        )
    outcome = f"{offsets:,} offsets skipped"
    typer.echo(f"would be: {outcome}; nothing was written" if dry_run else outcome)


@operations_app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 2 s, until Ctrl-C.")] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show lag by partition, rows, dead letters by reason, gaps, the last write and the revision."""
    from rich.console import Console
    from rich.live import Live

    from pattern_metrics.consumer.operations.status import read_status
    from pattern_metrics.consumer.settings import WorkerSettings

    settings = load_settings(WorkerSettings, database_url)
    start_logging()
    console = Console()

    def show(live: "Live | None") -> None:
        found = run(read_status(settings), KAFKA)
        if as_json:
            typer.echo(json.dumps(found.as_dict()))
        elif live is not None:
            live.update(_screen(found), refresh=True)
        else:
            console.print(_screen(found))

    if not watch:
        show(None)
        return
    on_screen = console.is_terminal and not as_json
    with Live(screen=True, auto_refresh=False) if on_screen else nullcontext() as live:
        try:
            while True:
                show(live)
                time.sleep(_REFRESH_SECONDS)
        except KeyboardInterrupt:
            return


def _screen(status: "Status") -> "Group":
    from rich.console import Group
    from rich.table import Table

    from pattern_metrics.consumer.postgres.later_clock import hint_of

    partitions = Table("partition", "next offset", "end", "lag", title="progress", title_justify="left")
    for column in partitions.columns:
        column.justify = "right"
    has_several = len({partition.topic for partition in status.partitions}) > 1
    beyond = list[str]()
    for partition in status.partitions:
        name = _name(partition) if has_several else str(partition.partition)
        next_offset = _number(partition.next_offset)
        partitions.add_row(name, next_offset, _number(partition.end), _lag_of(partition))
        if partition.beyond_end:
            beyond.append(name)
    letters = ", ".join(f"{count:,} {reason}" for reason, count in sorted(status.dead_letters.items()))
    gaps = ", ".join(f"{count:,} {reason}" for reason, count in sorted(status.gaps.items()))
    last_write = status.last_write or "never"
    if isinstance(last_write, datetime):
        last_write = last_write.isoformat(timespec="seconds")
    revision = status.revision.current or "none"
    retired = f", {status.retired:,} retired" if status.retired else ""
    behind = "" if status.revision.up_to_date else f" (needed: {status.revision.head}; run migrate up)"
    return Group(
        *([f"warning       {_beyond_the_end(beyond)}"] if beyond else []),
        *(
            f"warning       partition {_name(one)} is unavailable: {one.unavailable}"
            for one in status.unavailable
        ),
        *([f"warning       {clocks}"] if (clocks := hint_of(status.clock_difference)) else []),
        *(
            f"warning       partition {_name(one)}: a producer's open transaction holds back "
            f"{one.held_back:,} offsets from {one.end:,} on; find it with kafka-transactions.sh (see the "
            "runbook)"
            for one in status.partitions
            if one.held_back
        ),
        f"lag           {status.lag:,}",
        f"patterns      {status.patterns:,}{retired} (last write {last_write})",
        f"dead letters  {sum(status.dead_letters.values()):,}" + (f": {letters}" if letters else ""),
        f"gaps          {sum(status.gaps.values()):,} ({status.gap_offsets:,} offsets)"
        + (f": {gaps}" if gaps else ""),
        f"revision      {revision}{behind}",
        partitions,
    )


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _name(partition: "PartitionStatus") -> str:
    return f"{partition.topic} {partition.partition}"


def _lag_of(partition: "PartitionStatus") -> str:
    if partition.beyond_end:
        return f"{partition.beyond_end:,} beyond the end"
    return "unavailable" if partition.unavailable else _number(partition.lag)


def _beyond_the_end(partitions: list[str]) -> str:
    return (
        f"the position lies beyond the log's end in partition {', '.join(partitions)}: the topic was "
        "recreated or truncated, and a worker reads it from its beginning"
    )
