"""`publish --outbox` as a shell hook runs it: quick, and with the same outcome as the command itself."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.publisher.outbox import hook
from pattern_metrics.publisher.outbox.events import rows_of
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.row import SOURCE_DEFAULT, OutboxRow, headers_text
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.pattern_retired import parse_either
from pattern_metrics.schemas.pattern_scored import parse_event
from tests.support.command import PROGRAM
from tests.support.pipeline import an_event
from tests.support.waiting import eventually

LINE = an_event().to_json()
UNNAMED = json.dumps({key: value for key, value in json.loads(LINE).items() if key != "event_id"}).encode()


def run(
    path: Path, *arguments: str, stdin: bytes = LINE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.defpath, "OUTBOX_PATH": str(path), "HOME": str(path.parent), **variables}
    command: list[str | Path] = [PROGRAM, "publish", *(arguments or ("-", "--outbox"))]
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, env=environment, cwd=path.parent
    )


def stored(path: Path) -> list[OutboxRow]:
    return list(OutboxFile(path).each())


VARIANTS: list[dict[str, str]] = [{}, {"OUTBOX_WHEN_FULL": "block"}]
"""The hook runs, and the command itself."""

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 0.5, True, None, "0.5", -1, 2, 1e-9, 0.1234567890123456789, 10**30]),
    st.floats(0, 1),
)
TIMES = st.sampled_from(
    [
        *("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123456+05:30"),
        *("2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01t00:00:00z"),
        *(
            "2026-01-01T00:00:60Z",
            "0001-01-01T00:00:00Z",
            "2099-01-01T00:00:00Z",
            "2026-01-01T00:00:00-14:59",
        ),
        *("2026-01-01T00:00:00.1234567Z", "2026-W01-1T00:00:00Z", 1_700_000_000, None),
    ]
)
UUIDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).upper()),
    st.sampled_from(["{3f0f6f0a-7a55-5b0e-8a3c-51f9d7c0a2b4}", "3f0f6f0a7a555b0e8a3c51f9d7c0a2b4", "", 5]),
)
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["\0", "\ud800", "é", "x" * 65]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {"pattern_id": UUIDS, "quality_score": NUMBERS, "confidence": NUMBERS, "measurement_timestamp": TIMES},
    optional={
        "event_id": st.one_of(UUIDS, st.none()),
        "version": st.one_of(TEXTS, st.none()),
        "metadata": st.one_of(st.dictionaries(TEXTS, JSON, max_size=3), st.none(), st.just([])),
        "other": JSON,
    },
)


@given(event=EVENTS, is_ascii=st.booleans(), spaces=st.sampled_from(["", " ", "\t"]))
def test_every_line_that_the_hook_takes_is_one_that_the_model_takes(
    event: dict[str, Any], is_ascii: bool, spaces: str
) -> None:
    line = (spaces + json.dumps(event, ensure_ascii=is_ascii) + spaces).encode(errors="surrogatepass")
    now = datetime.now(UTC)
    limit = now + timedelta(seconds=300)
    try:
        [row] = hook._rows(line, int(limit.timestamp() * 1_000_000))
    except hook._NotPlainError:
        return

    expected = parse_either(line, accepted_until=limit, is_line=True)  # raises if the model refuses it
    sent = parse_event(row.value, accepted_until=limit)
    assert sent == expected
    assert sent.metadata_json == expected.metadata_json
    [alike] = rows_of([sent], headers_text(SOURCE_DEFAULT))
    assert row[:3] == alike[:3]
    assert row.headers == alike.headers


def test_most_plain_lines_are_taken() -> None:
    """Otherwise the property above would hold for a hook that takes nothing."""
    for line in (
        LINE,
        UNNAMED,
        an_event(metadata={"name": "é", "dimensions": {"complexity": 0.25}}).to_json(),
    ):
        [row] = hook._rows(line, time.time_ns() // 1000)
        assert parse_event(row.value, accepted_until=datetime.now(UTC)) == parse_either(
            line, accepted_until=datetime.now(UTC), is_line=True
        )


@pytest.mark.parametrize("line", [LINE, UNNAMED], ids=["named", "unnamed"])
def test_the_hook_and_the_command_store_the_same_event(tmp_path: Path, line: bytes) -> None:
    quick = run(tmp_path / "quick.db", stdin=line)
    slow = run(tmp_path / "slow.db", stdin=line, OUTBOX_WHEN_FULL="block")

    assert (
        (quick.returncode, quick.stdout)
        == (slow.returncode, slow.stdout)
        == (0, b"stored 1 events, refused 0 lines\n")
    )
    [one], [other] = stored(tmp_path / "quick.db"), stored(tmp_path / "slow.db")
    assert one[:3] == other[:3]
    assert (one.headers, one.reason) == (other.headers, other.reason)
    assert parse_event(one.value, accepted_until=datetime.now(UTC)) == parse_event(
        other.value, accepted_until=datetime.now(UTC)
    )


def test_a_file_and_json_are_as_the_commands(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(LINE + b"\n\n" + UNNAMED + b"\n")
    runs = [
        run(tmp_path / f"{number}.db", str(file), "--json", "--outbox", stdin=b"", **variables)
        for number, variables in enumerate(VARIANTS)
    ]

    assert json.loads(runs[0].stdout) == json.loads(runs[1].stdout)
    assert json.loads(runs[0].stdout) == {
        "stored": 2,
        "refused": 0,
        "unavailable": 0,
        "last_line": 3,
        "reached_end": True,
    }


@pytest.mark.parametrize(
    ("stdin", "variables", "code", "count"),
    [
        (LINE + b"\nx\n", {}, 1, 1),
        (b"[" + LINE + b"]", {}, 0, 1),
        (b"", {}, 0, 0),
        ((LINE + b"\n") * 2000, {}, 0, 2000),
        (an_event(measurement_timestamp=datetime.now(UTC) + timedelta(days=1)).to_json(), {}, 1, 0),
        (LINE, {"OUTBOX_MAX_BYTES": "1"}, 2, 0),
        (LINE, {"MAX_CLOCK_SKEW_SECONDS": "soon"}, 2, 0),
        (LINE, {"OUTBOX_PATH": ""}, 2, 0),
        (LINE, {"OUTBOX_PATH": "/proc/outbox.db"}, 1, 0),
        (LINE, {"PATTERN_METRICS_OUTBOX_PATH": "other.db"}, 0, 0),
    ],
    ids=[
        "a wrong line",
        "an array",
        "nothing",
        "many",
        "the future",
        "bytes",
        "skew",
        "unset",
        "unusable",
        "prefix",
    ],
)
def test_everything_that_is_not_plain_is_left_to_the_command(
    tmp_path: Path, stdin: bytes, variables: dict[str, str], code: int, count: int
) -> None:
    path = tmp_path / "outbox.db"
    ran = run(path, stdin=stdin, **variables)

    assert ran.returncode == code, ran.stderr
    assert len(stored(path)) == count
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "line", [LINE, LINE.replace(b'"version"', b'"\\u0076ersion"')], ids=["plain", "escaped"]
)
@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_pipe_that_has_a_name_is_read_once_and_whole(tmp_path: Path, name: str, line: bytes) -> None:
    """A shell makes one for `<(score src/)`. The command could not read again what the hook had read."""
    path = tmp_path / "outbox.db"

    ran = run(path, name, "--outbox", stdin=line + b"\n" + line)

    assert ran.returncode == 0, ran.stderr
    assert len(stored(path)) == 2


async def test_a_stream_is_stored_while_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    environment = {"PATH": os.defpath, "OUTBOX_PATH": str(path), "HOME": str(tmp_path)}
    command: list[str | Path] = [PROGRAM, "publish", "-", "--outbox"]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.write(LINE + b"\n")
    await eventually(lambda: stored(path), deadline_seconds=60)
    output, _ = await process.communicate(UNNAMED + b"\n")

    assert (process.returncode, output) == (0, b"stored 2 events, refused 0 lines\n")
    assert len(stored(path)) == 2


async def test_a_command_that_fails_keeps_nobody_waiting_who_still_writes_to_it(tmp_path: Path) -> None:
    """The process that copies the stream must hold no output of the command open."""
    environment = {"PATH": os.defpath, "OUTBOX_PATH": "/proc/outbox.db", "HOME": str(tmp_path)}
    command: list[str | Path] = [PROGRAM, "publish", "-", "--outbox"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(LINE + b"\n")
    async with asyncio.timeout(60):
        output, errors = await process.stdout.read(), await process.stderr.read()
    process.stdin.close()

    assert await process.wait() == 1, output
    assert b"outbox /proc/outbox.db" in errors


def test_the_hook_imports_no_model_and_no_kafka_client(tmp_path: Path) -> None:
    program = (
        "import os, sys\nsys.argv[1:] = ['publish', '-', '--outbox']\n"
        "os._exit = lambda code: print(code, *sys.modules)\n"
        "from pattern_metrics.__main__ import main\n"
        "try:\n    main()\nexcept BaseException as error:\n    print(repr(error), file=sys.stderr)\n"
    )
    environment = {"PATH": os.defpath, "OUTBOX_PATH": str(tmp_path / "outbox.db")}
    ran = subprocess.run(
        [sys.executable, "-c", program], input=LINE, capture_output=True, check=False, env=environment
    )
    _, code_and_modules = ran.stdout.splitlines()[:2]
    code, *modules = code_and_modules.decode().split()

    assert code == "0"
    heavy = {"aiokafka", "pydantic", "typer", "asyncio", "msgspec", "dotenv", "logging", "pathlib", "inspect"}
    assert not heavy & {*modules}
    assert "sqlite3" in modules


def cpu_seconds(command: Sequence[str | Path], stdin: bytes, environment: dict[str, str]) -> float:
    """Return the least CPU time of several runs, which other processes cannot lengthen much."""
    least = float("inf")
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, input=stdin, capture_output=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def test_one_line_takes_at_most_five_starts_of_the_interpreter(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "OUTBOX_PATH": str(tmp_path / "outbox.db")}
    start = cpu_seconds([sys.executable, "-c", "import sqlite3"], b"", environment)

    for line in (LINE, UNNAMED):
        assert cpu_seconds([PROGRAM, "publish", "-", "--outbox"], line, environment) <= 5 * start


def test_a_line_that_the_model_refuses_is_never_stored(tmp_path: Path) -> None:
    line = LINE.replace(b'"quality_score":0.5', b'"quality_score":5')
    with pytest.raises(InvalidEventError):
        parse_event(line, accepted_until=datetime.now(UTC))

    ran = run(tmp_path / "outbox.db", stdin=line)

    assert (ran.returncode, stored(tmp_path / "outbox.db")) == (1, [])
    assert b"line 1: out_of_range" in ran.stderr
