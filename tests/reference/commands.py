"""The page of commands, from the help of the command line."""

from collections.abc import Iterator
from typing import Any

import typer

from pattern_metrics.consumer.cli.app import app
from tests.reference.text import fenced, item, page, paragraphs


def commands_page() -> str:
    """Return each command with its usage, arguments, options and defaults."""
    blocks = list(_command(typer.main.get_command(app), None, "pattern-metrics"))
    return page("Commands", "consumer/cli", blocks)


def _command(command: Any, parent: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    if parent is not None:
        yield f"## `{context.command_path}`"
    yield fenced(f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}")
    yield from paragraphs(command.help)
    yield "\n".join(_parameters(command, context))
    for subname, subcommand in getattr(command, "commands", {}).items():
        yield from _command(subcommand, context, subname)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.get_params(context):
        name, text = parameter.get_help_record(context)
        if parameter.param_type_name == "argument":
            name = name.partition(" <")[0]
        if name != "--help":
            yield item(name, text)
