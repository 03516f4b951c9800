"""The command `mcp`: tools for language models."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pattern_metrics.consumer.cli.common import (
    POSTGRESQL,
    DatabaseUrlOption,
    load_settings,
    load_topic_to_publish,
    run,
    tracing,
)
from pattern_metrics.consumer.cli.output import fail
from pattern_metrics.schemas import extras

mcp_app = typer.Typer()


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port of an address.

    Raises:
        typer.BadParameter: the text has another form.
    """
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})", text)
    if found is None or int(found[2]) > 65535:  # noqa: PLR2004 - the greatest port
        raise typer.BadParameter("--http takes HOST:PORT, such as 127.0.0.1:8090 or [::1]:8090")
    return found[1].strip("[]"), int(found[2])


def _directory(text: str) -> Path:
    """Return the path of a directory. An empty text, as of a variable that is not set, is none.

    Raises:
        typer.BadParameter: there is no such directory.
    """
    if not text or not Path(text).is_dir():
        raise typer.BadParameter(f"directory {text!r} does not exist")
    return Path(text)


@mcp_app.command()
def mcp(
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Leave out publish_scores, the only tool that writes.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            parser=_directory,
            metavar="DIR",
            help="The directory of the code that score_code and explain_score may read. Module names begin "
            "at it. Without it they read no file, only source text.",
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve over HTTP, at the path /mcp, in place of standard input and output.",
        ),
    ] = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Serve tools to language models by the Model Context Protocol (MCP), over standard input and output.

    The tools are find_patterns, pattern_quality, score_code, explain_score, publish_scores and ingest_status.
    They answer from the database and the topic. While the broker is away, publish_scores stores events in the
    outbox (OUTBOX_PATH), if there is one. The command ends when the client closes standard input.

    With --http, many clients are served until SIGTERM or Ctrl-C. Beyond a loopback address they need a token
    of MCP_TOKENS_FILE, and the names in MCP_ALLOWED_HOSTS. It needs the extra `mcp`.
    """
    extras.require("mcp")
    from pattern_metrics.consumer.http.listening import take_port
    from pattern_metrics.consumer.mcp.access import load_mcp_tokens
    from pattern_metrics.consumer.settings import InvalidSettingError, LogSettings, McpSettings
    from pattern_metrics.consumer.telemetry.logs import configure_logging
    from pattern_metrics.publisher.outbox.place import OutboxError

    address = None if http is None else _address(http)
    if not read_only:
        load_topic_to_publish()
    settings = load_settings(McpSettings, database_url)
    configure_logging(load_settings(LogSettings), is_patient=True)
    if address is not None:
        settings = settings.model_copy(update={"http_host": address[0], "http_port": address[1]})
    try:
        tokens = None if address is None else load_mcp_tokens(settings)
        listener = None if address is None else take_port(settings, "--http")
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)
    from pattern_metrics.consumer.mcp.serving import serve_http, serve_stdio  # the SDK is slow to import

    if listener is None:
        serving = serve_stdio(settings, root, is_read_only=read_only)
    else:
        serving = serve_http(
            settings,
            root,
            tokens,
            listener,
            lambda url: typer.echo(f"the MCP server is at {url} (Ctrl-C ends it)"),
            is_read_only=read_only,
        )
    try:
        with tracing():
            run(serving, POSTGRESQL)
    except OutboxError as error:
        fail(f"error: {error}", 1)
