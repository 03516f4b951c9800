"""The light installation works without anything that only Linux has."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

from pattern_metrics.consumer.records.accounting import Accounting
from tests.platforms import agents, without_linux
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, catch_up, table, worker_settings


async def test_an_agent_needs_nothing_that_only_linux_has(
    light: Path, tmp_path: Path, migrated_database_url: str, embedded_broker: Broker
) -> None:
    """Library and commands need no `fcntl`, `fork` or `/proc`, and their lock may be the one of Windows."""
    topic = await create_topic(embedded_broker.bootstrap_servers, partitions=1)
    settings = worker_settings(embedded_broker.bootstrap_servers, topic, migrated_database_url)
    worked = await CommandLine(tmp_path, environment_of(settings)).run_program(
        light / "python", agents.__file__, "--without-linux"
    )
    accounting = await catch_up(settings)

    patterns = agents.SCORED + agents.PROCESSES * agents.EVENTS
    assert worked.succeeded().stdout.decode().endswith(" events stored and delivered\n")
    assert accounting == Accounting(applied=patterns, superseded=3 * agents.SCORED)
    assert len(await table(settings)) == patterns


async def test_a_flush_that_watches_ends_by_a_signal_without_handlers_of_the_event_loop(
    light: Path, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.db"
    environment = {"PATH": os.defpath, "OUTBOX_PATH": str(path), "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    tmp_path.joinpath("events.jsonl").write_bytes(an_event().to_json())
    program = (light / "python", without_linux.__file__)
    command = CommandLine(tmp_path, environment)
    (await command.run_program(*program, "publish", "events.jsonl", "--outbox")).succeeded()
    watching = await asyncio.create_subprocess_exec(
        *program, "outbox", "flush", "--watch", cwd=tmp_path, env=environment, stdout=PIPE, stderr=PIPE
    )
    assert watching.stderr
    async with asyncio.timeout(SECONDS_MAX):
        seen = b""
        while b"trying again" not in seen:
            line = await watching.stderr.readline()
            assert line, seen
            seen += line
        watching.send_signal(signal.SIGINT)
        stdout, _ = await watching.communicate()

    assert watching.returncode == 1
    assert stdout.startswith(b"delivered 0 events, refused 0; 1 events wait")
