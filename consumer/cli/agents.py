"""The agents' commands: score, publish, schema, topic create."""

import json
import re
import sys
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from pattern_metrics.consumer.cli.common import (
    FILES_HELP,
    KAFKA,
    POSTGRESQL,
    Commands,
    DatabaseUrlOption,
    JsonOption,
    input_size,
    load_database_url,
    load_settings,
    load_topic_to_publish,
    read_file,
    run,
    start_logging,
    tell_misunderstanding,
    tell_target,
)
from pattern_metrics.consumer.cli.outbox import require_outbox
from pattern_metrics.consumer.cli.output import fail, printable, tell
from pattern_metrics.consumer.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pattern_metrics.consumer.operations.files.recognition import Measurements
    from pattern_metrics.consumer.operations.publish import Opening
    from pattern_metrics.publisher.scoring.sources import Found

agents_app = typer.Typer()
topic_app = typer.Typer(cls=Commands, no_args_is_help=True, help="Manage the topic of the events.")
agents_app.add_typer(topic_app, name="topic")


def _project(name: str) -> str:
    if not re.fullmatch(r"[\w./-]+", name):
        raise typer.BadParameter("takes letters, digits and . _ - / only")
    return unicodedata.normalize("NFC", name)


@agents_app.command()
def score(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Python files, or directories that are searched for Python files."
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="The directory at which module names begin. By default, the nearest parent directory with a "
            "pyproject.toml or .git.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            parser=_project,
            metavar="NAME",
            help="Put NAME/ before each pattern's name. This changes the pattern's id.",
        ),
    ] = None,
    retire_missing: Annotated[
        bool,
        typer.Option(
            "--retire-missing",
            help="Also write a retirement for each pattern of --project that the table (DATABASE_URL) holds "
            "and this run did not find. Give the paths of the whole project.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --retire-missing: list what would be retired, only.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="With --retire-missing: retire also more than a fifth of the patterns."),
    ] = False,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Score Python code, and write one event per function and class to stdout as JSON Lines.

    The code is parsed and not executed. The pattern_id is derived from the qualified name of the function or
    class, so that it is the same in each run, from any directory and on any machine.

    Exit code 1: a file could not be parsed, or a name was defined by two files. Each of them is reported and
    skipped, and everything else is scored. Then nothing is retired, nor if more than a fifth of the patterns
    would be.
    """
    from pattern_metrics.publisher.scoring.sources import find_sources

    if retire_missing and not project:
        fail("error: --retire-missing needs --project: it says which patterns are this project's", 2)
    if (dry_run or yes) and not retire_missing:
        fail("error: --dry-run and --yes belong to --retire-missing", 2)
    url = load_database_url(database_url) if retire_missing else ""
    try:
        found = find_sources(paths, root=root, project=project)
    except FileNotFoundError as error:
        fail(f"error: {error}", 2)
    _tell_unscored(found)
    patterns = set[UUID]()
    counts = _write_scores(found, patterns, is_silent=dry_run)
    sys.stdout.flush()  # if the reader has closed the pipe, the totals are not reported
    _tell_totals(found, counts)
    if retire_missing and project:
        _retire_missing(url, project, patterns, dry_run=dry_run, yes=yes)


def _retire_missing(url: str, project: str, found: set[UUID], *, dry_run: bool, yes: bool) -> None:
    """Write the retirements of the project's patterns that were not found, or list their names."""
    from pattern_metrics.consumer.operations.retired_patterns import find_missing

    missing = run(find_missing(url, project, found), POSTGRESQL)
    if dry_run:
        for name in missing.names.values():
            typer.echo(printable(name))
    share = f"{len(missing.names):,} of the {missing.known:,} patterns of {project} in the table"
    if missing.is_suspicious and not yes:
        fail(f"error: {share} were not found; give the paths of the whole project, or --yes", 1)
    if dry_run:
        tell(f"{share} would be retired")
        return
    for event in missing.events(datetime.now(UTC)):
        sys.stdout.buffer.write(event + b"\n")
    sys.stdout.flush()
    tell(f"wrote the retirements of {share}")


def _write_scores(found: "Found", patterns: set[UUID], *, is_silent: bool) -> Counter[str]:
    """Write the events, report what is left out, and return the number of results of each kind.

    Args:
        found: the files.
        patterns: gets the pattern of each event.
        is_silent: whether to write no event.
    """
    from pattern_metrics.publisher.scoring.scorer import DuplicateDefinition, score_sources
    from pattern_metrics.publisher.scoring.sources import UnreadableFile

    counts, watched = Counter[str](), not sys.stdout.isatty()
    with progress_bar("scoring", total=len(found.sources), visible=watched) as bar:
        for results in score_sources(found.sources, measured_at=datetime.now(UTC)):
            for result in results:
                if isinstance(result, (UnreadableFile, DuplicateDefinition)):
                    counts["unreadable" if isinstance(result, UnreadableFile) else "duplicate"] += 1
                    tell(f"skipped {result}")
                else:
                    counts["scored"] += 1
                    patterns.add(result.pattern_id)
                    if not is_silent:
                        sys.stdout.buffer.write(result.to_json() + b"\n")
            bar.advance(1)
    return counts


def _tell_totals(found: "Found", counts: Counter[str]) -> None:
    if found.without_root:
        tell(
            f"{found.without_root} files have no pyproject.toml or .git above them: give --root, or their "
            "names begin at their own folder or package"
        )
    unreadable, duplicates = counts["unreadable"] + len(found.unreadable), counts["duplicate"]
    if unreadable:
        tell(f"{unreadable} of {len(found.sources) + len(found.unreadable)} files could not be read")
    if duplicates:
        tell(f"skipped {duplicates} definitions, whose names another file has: rename a file, or give --root")
    if unreadable or duplicates:
        raise typer.Exit(1)
    if not counts:
        tell(f"no function or class in {len(found.sources)} files")


def _tell_unscored(found: "Found") -> None:
    """Report the files that were found and cannot be scored."""
    for unreadable in found.unreadable:
        tell(f"skipped {unreadable}")
    suffixes = Counter(path.suffix for path in found.passed_over)
    if suffixes:
        counted = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        tell(f"not scored: {counted}")


@agents_app.command()
def publish(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help=FILES_HELP)],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count what would be published and refused. No broker is asked."),
    ] = False,
    outbox: Annotated[
        bool,
        typer.Option(
            "--outbox",
            help="Store the events in the outbox (OUTBOX_PATH), from which `outbox flush` or another "
            "publisher delivers them. No broker is asked.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the events of a file to the topic.

    The format is recognised by the file's content. An event without an event_id, or with null, gets one that
    is derived from its content, so that publishing a file twice is a retry and not a second measurement.

    Exit code 1: a line is invalid, or an event was not published. Lines that are invalid, or that the broker
    refuses, are reported by number and reason, and the others are published. Events of a partition without a
    leader are left out and counted, and all others are published. Exit code 2: the file has none of the
    formats, and nothing was published.
    """
    publish_measurements(
        lambda: read_file(file),
        file.name,
        total=input_size(file),
        dry_run=dry_run,
        outbox=outbox,
        as_json=as_json,
    )


def publish_measurements(
    read: "Callable[[], Measurements]",
    name: str,
    *,
    total: int | None,
    dry_run: bool,
    outbox: bool,
    as_json: bool,
) -> None:
    """Publish events, and report the outcome as `publish` does.

    Args:
        read: returns the events; it is called once the settings are known to be right.
        name: where they come from.
        total: their bytes, if that is known.
        dry_run: see `publish`.
        outbox: see `publish`.
        as_json: see `publish`.
    """
    from pattern_metrics.consumer.operations.files.source import BrokenSourceError
    from pattern_metrics.consumer.operations.publish import PublishReport, publish_file, publishing_nothing
    from pattern_metrics.publisher.client import PublishError
    from pattern_metrics.schemas.settings.clock import ClockSettings

    accepted_until = load_settings(ClockSettings).accepted_until(datetime.now(UTC))
    opening, tell_place = _open_outbox() if outbox else _open_topic()
    start_logging()
    report = PublishReport("stored" if outbox else "published")
    try:
        measurements = read()
        tell_place()
        with progress_bar("storing" if outbox else "publishing", total=total, in_bytes=True) as bar:
            run(
                publish_file(
                    publishing_nothing() if dry_run else opening,
                    measurements,
                    accepted_until=accepted_until,
                    report=report,
                    tell=tell,
                    advance=bar.advance,
                ),
                KAFKA,
            )
    except BrokenSourceError as error:
        tell(f"error: {name}: {error}")
    except PublishError as error:
        tell(f"error: {error}; publish the file again: it is a retry")
    except KeyboardInterrupt:
        tell("interrupted; publish the file again: it is a retry")
    if report.unavailable:
        tell("publish the file again once these partitions are available: it is a retry")
    done = report.done
    tell_misunderstanding(report.refusals.shared_by_all(report.read), report.read, f"Nothing was {done}")
    sentence = f"would be: {report}; nothing was {done}" if dry_run else str(report)
    typer.echo(json.dumps(report.as_dict()) if as_json else sentence)
    if not report.is_complete:
        raise typer.Exit(1)


def _open_topic() -> "tuple[Opening, Callable[[], None]]":
    """Return what opens the topic to publish to, and what reports it."""
    from pattern_metrics.consumer.operations.publish import publishing_to

    settings = load_topic_to_publish()
    return publishing_to(settings, tell), lambda: tell_target(kafka=settings)


def _open_outbox() -> "tuple[Opening, Callable[[], None]]":
    """Return what opens the outbox to store in, and what reports it."""
    from pattern_metrics.consumer.operations.publish import storing_in

    file, block_seconds = require_outbox()
    return storing_in(file, block_seconds), lambda: tell(printable(f"outbox {file.path}"))


@agents_app.command()
def schema() -> None:
    """Print the event's JSON Schema (2020-12), for agents in other languages."""
    from pattern_metrics.schemas.generate import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@topic_app.command("create")
def topic_create(
    partitions: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="The number of partitions, which is the most workers that can read."
        ),
    ] = 6,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The copies of each partition. By default 3, or the number of brokers if there are fewer.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create each topic of KAFKA_TOPIC that does not exist. An existing topic is left as it is."""
    from pattern_metrics.consumer.kafka.broker import create_topic
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

    settings = load_settings(KafkaSettings)
    start_logging()
    tell_target(kafka=settings)
    created: dict[str, bool] = {}
    for topic in settings.each_topic():
        creating = create_topic(topic, partitions=partitions, replication_factor=replication_factor)
        created[topic.kafka_topic] = run(creating, KAFKA)
        if not as_json:
            was = "created" if created[topic.kafka_topic] else "is there already"
            typer.echo(f"topic {topic.kafka_topic} {was}")
    if as_json:
        typer.echo(json.dumps({"created": created}))
