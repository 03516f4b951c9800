"""Requests that Schemathesis draws from the OpenAPI document of a running server.

It is a program of its own here, because its plugin for pytest raises warnings, which are errors.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.support.command import SECONDS_MAX

_CONFIGURATION: Final = """\
[checks.positive_data_acceptance]
# The schema cannot say what the time of day, the database and the size of an event refuse.
expected-statuses = [200, 202, 404, 410, 422]

[[operations]]
# A cursor is any text in the schema, and one that no page has returned is refused.
include-method = "GET"
checks.positive_data_acceptance.expected-statuses = [200, 400, 404, 410]
"""

_TOLERATED: Final = "negative_data_rejection"
"""Events are read more tolerantly than the schema describes them, for example a time without its T."""


async def check_openapi(port: int, scratch: Path, *options: str) -> None:
    """Check that a server answers drawn requests as its document says.

    Args:
        port: the server's.
        scratch: an empty directory.
        options: further options of `schemathesis run`.
    """
    (scratch / "schemathesis.toml").write_text(_CONFIGURATION, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"http://127.0.0.1:{port}/openapi.json",
        *("--phases=coverage", "--generation-database=none", "--no-color"),
        *(f"--exclude-checks={_TOLERATED}", f"--request-timeout={SECONDS_MAX}"),
        *options,
        cwd=scratch,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
