"""The agents' commands: score, publish, schema, topic create."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pattern_metrics.consumer.cli.common import (
    FILES_HELP,
    KAFKA,
    Commands,
    JsonOption,
    input_size,
    load_settings,
    read_file,
    run,
    start_logging,
    tell_misunderstanding,
)
from pattern_metrics.consumer.cli.output import fail, tell
from pattern_metrics.consumer.cli.progress import progress_bar

agents_app = typer.Typer()
topic_app = typer.Typer(cls=Commands, no_args_is_help=True, help="The topic of the events.")
agents_app.add_typer(topic_app, name="topic")


@agents_app.command()
def score(
    paths: Annotated[list[Path], typer.Argument(help="Python files, or directories to search for them.")],
) -> None:
    """Score Python code and write one event per function and class as JSON Lines to stdout.

    Nothing is executed. A file that does not parse is reported and skipped; the exit code is then 1.
    """
    from pattern_metrics.publisher.scoring.scorer import UnreadableFile, find_sources, score_file

    try:
        sources = find_sources(paths)
    except FileNotFoundError as error:
        fail(f"error: {error}", 2)
    measured_at, skipped = datetime.now(UTC), 0
    watched = not sys.stdout.isatty()
    with progress_bar("scoring", total=len(sources), visible=watched) as bar:
        for source in sources:
            for result in score_file(source, measured_at=measured_at):
                if isinstance(result, UnreadableFile):
                    skipped += 1
                    tell(f"skipped {result.path}: {result.reason}")
                else:
                    sys.stdout.buffer.write(result.to_json() + b"\n")
            bar.advance(1)
    if skipped:
        fail(f"{skipped} of {len(sources)} files could not be read", 1)


@agents_app.command()
def publish(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help=FILES_HELP)],
    as_json: JsonOption = False,
) -> None:
    """Publish the events of a file.

    The content decides how the file is read. A file of another kind is refused with exit code 2, before
    anything is published. An invalid line is reported by its number and reason, the valid ones are published,
    and the exit code is 1. An event without an event_id gets the one derived from its content: to publish a
    file twice is a retry, and not a second measurement.
    """
    from pattern_metrics.consumer.operations.files.source import BrokenSourceError
    from pattern_metrics.consumer.operations.publish import PublishReport, publish_file
    from pattern_metrics.publisher.client import PublishError
    from pattern_metrics.schemas.settings.clock import ClockSettings
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

    settings, accepted_until = load_settings(KafkaSettings), load_settings(ClockSettings).accepted_until()
    if len(settings.kafka_topics) > 1:
        fail("error: KAFKA_TOPIC: names several topics; to publish, name one", 2)
    start_logging()
    report, total = PublishReport(), input_size(file)
    try:
        measurements = read_file(file)
        with progress_bar("publishing", total=total, visible=True) as bar:
            run(
                publish_file(
                    settings,
                    measurements,
                    accepted_until=accepted_until,
                    report=report,
                    on_refused=lambda number, error: tell(f"{measurements.unit} {number}: {error}"),
                    advance=bar.advance,
                ),
                KAFKA,
            )
    except BrokenSourceError as error:
        tell(f"error: {file.name}: {error}")
    except PublishError as error:
        tell(f"error: {error}; publish the file again: it is a retry")
    except KeyboardInterrupt:
        tell("interrupted; publish the file again: it is a retry")
    tell_misunderstanding(report.refusals.shared_by_all(report.read), report.read, "Nothing was published")
    typer.echo(json.dumps(report.as_dict()) if as_json else str(report))
    if not report.is_complete:
        raise typer.Exit(1)


@agents_app.command()
def schema() -> None:
    """Print the event's JSON Schema (2020-12): all that an agent in another language needs."""
    from pattern_metrics.schemas.generate import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@topic_app.command("create")
def topic_create(
    partitions: Annotated[int, typer.Option(min=1, help="How many workers can share the topic at most.")] = 6,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Copies; by default three, or one a broker where there are fewer."),
    ] = None,
) -> None:
    """Create each topic of KAFKA_TOPIC that is not there."""
    from pattern_metrics.consumer.kafka.broker import create_topic
    from pattern_metrics.schemas.settings.kafka import KafkaSettings

    settings = load_settings(KafkaSettings)
    start_logging()
    for topic in settings.each_topic():
        creating = create_topic(topic, partitions=partitions, replication_factor=replication_factor)
        created = run(creating, KAFKA)
        typer.echo(f"topic {topic.kafka_topic} {'created' if created else 'is there already'}")
