"""All commands, without logic of their own. The help text of `app` has the exit codes."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from pattern_metrics.consumer.cli.agents import agents_app
from pattern_metrics.consumer.cli.common import ENV_FILE_OPTION, Commands, log, run, use_env_file
from pattern_metrics.consumer.cli.consume import consume_app
from pattern_metrics.consumer.cli.dead_letters import dead_letters_app
from pattern_metrics.consumer.cli.gateway import gateway_app
from pattern_metrics.consumer.cli.mcp import mcp_app
from pattern_metrics.consumer.cli.migrate import migrate_app
from pattern_metrics.consumer.cli.operations import operations_app
from pattern_metrics.consumer.cli.outbox import outbox_app
from pattern_metrics.consumer.cli.output import (
    end_output,
    escape_other_characters,
    fail,
    open_closed_streams,
    tell,
)
from pattern_metrics.consumer.cli.readers import readers_app
from pattern_metrics.consumer.cli.retirement import retirement_app
from pattern_metrics.consumer.cli.settings import settings_app
from pattern_metrics.schemas import extras

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's help breaks lines twice, and shows <bool> beside each flag
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    help="""Read measurements of patterns from Kafka and keep one current row per pattern in PostgreSQL.

    Settings are environment variables. `pattern-metrics settings` shows each with its source.

    Exit code 0: the command succeeded. Exit code 1: a check failed, a part of the input was refused, a server
    is not reachable, or the command was stopped before its end. Exit code 2: the usage or a setting is wrong,
    a server lacks something that the command needs, or an extra is not installed. An error is one line on
    standard error, which names the setting or the server. Only a bug is logged with its traceback.""",
)
app.add_typer(consume_app)
app.add_typer(agents_app)
app.add_typer(gateway_app)
app.add_typer(mcp_app)
app.add_typer(outbox_app, name="outbox")
app.add_typer(settings_app)
app.add_typer(migrate_app, name="migrate")
app.add_typer(operations_app)
app.add_typer(readers_app)
app.add_typer(retirement_app)
app.add_typer(dead_letters_app, name="dead-letters")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"pattern-metrics {metadata.version('pattern-metrics')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    _env_file: Annotated[
        str | None,
        typer.Option(
            ENV_FILE_OPTION,
            metavar="FILE",
            callback=use_env_file,
            expose_value=False,
            help="Also read settings from FILE (NAME=VALUE lines); the environment wins.",
        ),
    ] = None,
) -> None:
    """Take the options that come before a command."""


def main() -> None:
    """The entry point. An unexpected error is logged with its traceback, and the exit code is 1."""
    open_closed_streams()
    escape_other_characters()
    sys.exit(end_output(_run_command()))


def _run_command() -> int:
    try:
        return app(prog_name="pattern-metrics", standalone_mode=False) or 0
    except typer.TyperException as error:  # wrong usage; without a message, the help was shown
        if message := " ".join(error.format_message().split()):
            tell(f"error: {message}")
        return error.exit_code
    except OSError as error:  # `run` reports a server's errors
        tell(f"error: {'' if error.filename else 'standard output: '}{error}")
    except Exception:  # noqa: BLE001 - the outermost frame: nothing escapes without being logged
        log().exception("failed")
    return 1


@app.command()
def demo(
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Keep the services running after the demo, serve the page, and print how to connect.",
        ),
    ] = False,
    servers: Annotated[
        bool,
        typer.Option("--servers", help="Start only the two servers, empty, and print how to connect."),
    ] = False,
) -> None:
    """Show the whole pipeline in one minute, on an embedded Kafka broker and PostgreSQL.

    The demo needs no running service. It scores Python's standard library, publishes the scores, consumes
    them and replays the topic. With --keep, the page is served at HTTP_HOST and HTTP_PORT if one of them is
    set, and at a free port otherwise. It needs the extra `embedded`.
    """
    extras.require("embedded")
    from pattern_metrics.consumer.demo.demo import run_demo, run_servers
    from pattern_metrics.consumer.demo.embedded import EmbeddedServerError
    from pattern_metrics.consumer.settings import InvalidSettingError, LogSettings, load
    from pattern_metrics.consumer.telemetry.logs import configure_logging

    try:
        configure_logging(load(LogSettings, {"log_level": "ERROR"}))
        run(run_servers() if servers else run_demo(keep=keep), "demo")
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)
    except EmbeddedServerError as error:
        fail(f"error: {error}", 1)
