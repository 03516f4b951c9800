"""The commands of the outbox, where events wait until Kafka has acknowledged them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from pattern_metrics.consumer.cli.common import (
    KAFKA,
    CommandFailedError,
    Commands,
    JsonOption,
    attempt,
    load_settings,
    load_topic_to_publish,
    start_logging,
    tell_target,
    writing_output,
)
from pattern_metrics.consumer.cli.output import fail, printable, tell
from pattern_metrics.consumer.cli.progress import progress_bar

if TYPE_CHECKING:
    from pattern_metrics.publisher.outbox.file import OutboxFile, OutboxStatus
    from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher

FLUSH_SECONDS: Final = 30.0
"""The longest wait for the acknowledgement of an event, and for another process that delivers."""

STOP_SECONDS: Final = 10.0
"""The longest wait for the events that are being delivered when a signal comes."""

outbox_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Show, deliver, export, compact or discard the events that wait in the outbox (OUTBOX_PATH).",
)


def find_outbox() -> "tuple[OutboxFile | None, float]":
    """Return the outbox of OUTBOX_PATH, if it is set, and how long an event waits for space, in seconds."""
    from pattern_metrics.publisher.outbox.file import OutboxFile
    from pattern_metrics.schemas.settings.outbox import OutboxSettings

    settings = load_settings(OutboxSettings)
    if settings.outbox_path is None:
        return None, 0.0
    file = OutboxFile(
        settings.outbox_path,
        max_bytes=settings.outbox_max_bytes,
        is_coalescing=settings.outbox_when_full == "coalesce",
    )
    return file, FLUSH_SECONDS if settings.outbox_when_full == "block" else 0.0


def require_outbox() -> "tuple[OutboxFile, float]":
    """Return what `find_outbox` returns. Without OUTBOX_PATH, the command ends with exit code 2."""
    from pattern_metrics.schemas.settings.variables import hint_at_unread_file

    file, block_seconds = find_outbox()
    if file is None:
        fail(f"error: OUTBOX_PATH: is required{hint_at_unread_file('outbox_path')}", 2)
    return file, block_seconds


@contextmanager
def outbox_file(file: "OutboxFile | None" = None) -> Iterator["OutboxFile"]:
    """Yield the outbox, by default of OUTBOX_PATH. A file that cannot be used ends the command."""
    from pattern_metrics.publisher.outbox.place import OutboxError

    file = file or require_outbox()[0]
    start_logging()
    try:
        yield file
    except OutboxError as error:
        fail(f"error: {error}", 1)
    finally:
        file.close()


@outbox_app.command()
def status(as_json: JsonOption = False) -> None:
    """Show how many events wait, since when, and why others were refused. No broker is asked."""
    with outbox_file() as file:
        found = file.status()
        if as_json:
            typer.echo(json.dumps(found._asdict()))
            return
        typer.echo(f"{found.path}: {_sentence(found)}; {found.bytes:,} of {file.max_bytes:,} bytes")
        reasons = Counter(row.reason or "" for row in file.each(refused=True))
        for reason, count in reasons.most_common():
            typer.echo(f"refused {count:,}: {printable(reason)}")


def _sentence(found: "OutboxStatus") -> str:
    age = "" if found.oldest_seconds is None else f", the oldest one for {found.oldest_seconds:,} s"
    return f"{found.events:,} events wait{age}; {found.refused:,} were refused"


@outbox_app.command()
def flush(
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Deliver events as they come, until a signal ends the command."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver the events that wait to the topic, the newest measurement first.

    A record that Kafka refuses for good is kept apart with its reason and holds no other back. An outage or a
    wrong configuration stops the flush, and every event stays. With --watch, the flush is then tried again.

    Exit code 0: nothing is left. Exit code 1: an event stays in the outbox, also a refused one.
    """
    from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher

    settings = load_topic_to_publish()
    total = Flushed()
    with outbox_file() as file:
        tell_target(kafka=settings)
        tell(printable(f"outbox: {file.path}"))

        def report(flushed: Flushed, error: Exception | None) -> None:
            total.delivered += flushed.delivered
            total.refused += flushed.refused
            why = "" if error is None else f"; trying again: {str(error) or type(error).__name__}"
            tell(printable(f"delivered {flushed.delivered:,} events, refused {flushed.refused:,}{why}"))

        flusher = OutboxFlusher(file, settings, FLUSH_SECONDS, report)
        try:
            attempt(_watch(flusher) if watch else _flush(file, flusher, total), KAFKA)
        except CommandFailedError as failed:
            tell(failed.line)
        except KeyboardInterrupt:
            tell("interrupted; the events that were not acknowledged stay")
        left = file.status()
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        "delivered": total.delivered,
                        "refused": total.refused,
                        "left": left.events + left.refused,
                    }
                )
            )
        else:
            typer.echo(f"delivered {total.delivered:,} events, refused {total.refused:,}; {_sentence(left)}")
        if left.events or left.refused:
            raise typer.Exit(1)


async def _flush(file: "OutboxFile", flusher: "OutboxFlusher", flushed: "Flushed") -> None:
    try:
        with ExitStack() as stack:
            # After that time the other process makes no progress, and an event may arrive twice.
            with suppress(BlockingIOError):
                stack.enter_context(file.flushing(seconds=FLUSH_SECONDS))
            bar = stack.enter_context(progress_bar("delivering", total=file.status().events))
            await flusher.flush(flushed, bar.advance)
    finally:
        await flusher.close()


async def _watch(flusher: "OutboxFlusher") -> None:
    import asyncio

    from pattern_metrics.consumer.stopping import cancel, hearing_signals

    task = asyncio.create_task(flusher.run())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        flusher.stop()
        loop.call_later(STOP_SECONDS, task.cancel)

    try:
        with hearing_signals(stop, task.cancel):
            await asyncio.wait({task})
    finally:
        await cancel(task)
        await flusher.close()


@outbox_app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="The file to write. With - it is standard output.")
    ],
    refused: Annotated[
        bool, typer.Option("--refused", help="Only the events that Kafka refused for good.")
    ] = False,
) -> None:
    """Export the events of the outbox as JSON Lines, which `publish` reads. The events stay.

    The line of a refused event has its reason as the field outbox_reason, which readers ignore.
    """
    with outbox_file() as outbox, writing_output(file) as write:
        for row in outbox.each(refused=True if refused else None):
            if row.reason is None:
                write(row.value + b"\n")
            else:
                write(
                    b'%b,"outbox_reason":%b}\n' % (row.value.rstrip()[:-1], json.dumps(row.reason).encode())
                )


@outbox_app.command()
def compact(as_json: JsonOption = False) -> None:
    """Return the free space in the outbox's file to the file system. No event is deleted."""
    with outbox_file() as file:
        size = file.compact()
        typer.echo(json.dumps({"file_bytes": size}) if as_json else f"the file has {size:,} bytes")


@outbox_app.command()
def discard(
    event_ids: Annotated[
        list[UUID] | None, typer.Argument(metavar="EVENT_ID", help="The refused events with these ids.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All refused events. Required if no EVENT_ID is given.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete events that Kafka refused for good. An event that waits is never deleted: export it, or flush.

    Exit code 1: an event with one of these ids was not refused, or is not there.
    """
    if bool(event_ids) == everything:
        fail("error: which events? Give EVENT_ID, or --all", 2)
    with outbox_file() as file:
        count = file.discard([event_id.bytes for event_id in event_ids] if event_ids else None)
        typer.echo(json.dumps({"discarded": count}) if as_json else f"discarded {count:,} events")
        if event_ids and count < len(set(event_ids)):
            raise typer.Exit(1)
