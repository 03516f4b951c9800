"""The machine loses its power at any moment: an acknowledged event is on the disk.

`kill -9` proves nothing about it, because the system keeps what was written and not synced. So a run's writes
and syncs are recorded, and the disk is built again as it may be after each of them.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.outbox.rows import kept, require_sound
from tests.support.kafka import missing

SECTOR = 512
_RECORD = struct.Struct("=cQII")

AGENT = """
import os, sys
from contextlib import suppress
from pattern_metrics.publisher.outbox import file as module
from tests.outbox.rows import a_row, ids

def note(what, *numbers):
    for number in numbers:
        with suppress(OSError):
            os.unlink(f"/note/{what}/{number}")

module._CHECKPOINT_FRAMES = 12
agents = [module.OutboxFile(sys.argv[1]) for _ in range(2)]
number = 0
for turn in range(24):
    agent = agents[turn % 2]
    text = "x" * (6000 if turn % 5 == 0 else 20)
    rows = [a_row(number + n, measured=number + n, text=text) for n in range(3)]
    assert agent.append([rows[:1], rows[1:]]) == [1, 2]
    note("stored", *ids(rows))
    number += 3
    if turn % 6 == 5:
        rows = agent.newest()[:4]
        note("settled", *ids(rows))
        agent.settle(rows[1:], [(rows[0], "too large")])
    if turn % 9 == 8:
        agent.close()
    if turn == 15:
        agents[0].compact()
"""


@dataclass(frozen=True)
class Step:
    """One recorded call."""

    kind: str
    path: str
    at: int
    data: bytes


@dataclass
class Disk:
    """The synced content of files, and the writes and names that a loss of power may take."""

    names: dict[str, int] = field(default_factory=dict)
    synced_names: dict[str, int] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)
    pending: dict[int, list[Step]] = field(default_factory=dict)
    inodes: int = 0

    def apply(self, step: Step) -> None:
        if step.kind == "u":
            self.names.pop(step.path, None)
        elif step.kind == "r":
            self.names[step.data.decode()] = self.names.pop(step.path)
        elif step.kind == "s" and step.path not in self.names:  # a directory
            inside = {name: inode for name, inode in self.names.items() if name.startswith(f"{step.path}/")}
            outside = {n: i for n, i in self.synced_names.items() if not n.startswith(f"{step.path}/")}
            self.synced_names = outside | inside
        else:
            if step.path not in self.names:
                self.inodes += 1
                self.names[step.path] = self.inodes
                self.synced[self.inodes], self.pending[self.inodes] = b"", []
            inode = self.names[step.path]
            if step.kind == "s":
                self.synced[inode] = written(self.synced[inode], self.pending[inode])
                self.pending[inode] = []
            else:
                self.pending[inode].append(step)

    def after_power_loss(self, choose: random.Random) -> dict[str, bytes]:
        """Return the files as they may be: of what was not synced nothing, everything, or any sectors."""
        names = choose.choice([self.names, self.synced_names])
        mode = choose.choice(["nothing", "everything", "some"])
        return {
            name: written(self.synced[inode], [*surviving(self.pending[inode], mode, choose)])
            for name, inode in names.items()
        }


def surviving(steps: list[Step], mode: str, choose: random.Random) -> Iterator[Step]:
    for step in steps:
        if mode == "everything" or (mode == "some" and step.kind == "t" and choose.random() < 0.5):
            yield step
        elif mode == "some" and step.kind == "w":
            for begin in range(0, len(step.data), SECTOR):
                if choose.random() < 0.5:
                    yield Step("w", step.path, step.at + begin, step.data[begin : begin + SECTOR])


def written(content: bytes, steps: list[Step]) -> bytes:
    result = bytearray(content)
    for step in steps:
        if step.kind == "t":
            del result[step.at :]
            result.extend(bytes(step.at - len(result)))
        else:
            result.extend(bytes(max(0, step.at - len(result))))
            result[step.at : step.at + len(step.data)] = step.data
    return bytes(result)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("to record writes and syncs needs a C compiler (cc)")
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def recorded(recorder: Path, path: Path, program: str = AGENT) -> list[Step]:
    log = path.with_name("log")
    with log.open("wb") as file:
        environment = {**os.environ, "LD_PRELOAD": str(recorder), "RECORDER": str(file.fileno())}
        command: list[str | Path] = [sys.executable, "-B", "-c", program, path]
        subprocess.run(command, env=environment, pass_fds=[file.fileno()], check=True)
    return [*steps(log.read_bytes())]


def steps(content: bytes) -> Iterator[Step]:
    at = 0
    while at < len(content):
        kind, offset, path_size, data_size = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        path = content[at : at + path_size].decode()
        at += path_size
        yield Step(kind.decode(), path, offset, content[at : at + data_size])
        at += data_size


def cut_after_each(
    run: list[Step], path: Path, directory: Path, choose: random.Random
) -> Iterator[tuple[set[int], Path]]:
    """Yield, for each moment after a sync or a note, the events that must be there, and the disk."""
    disk, required = Disk(), set[int]()
    for number, step in enumerate(run):
        _, _, note = step.path.partition("/note/")
        if note:
            what, _, event = note.partition("/")
            (required.add if what == "stored" else required.discard)(int(event))
        elif step.path.startswith(str(path.parent)) and not step.path.endswith(("-shm", ".lock", "/log")):
            disk.apply(step)
        if (note or step.kind in "su") and (choose.random() < 0.5 or number > len(run) - 20):
            place = directory / str(number)
            place.mkdir(mode=0o700)
            for name, content in disk.after_power_loss(choose).items():
                (place / Path(name).name).write_bytes(content)
            yield {*required}, place / path.name


def test_a_loss_of_power_loses_no_acknowledged_event(recorder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "outbox.db"
    path.parent.mkdir()
    run = recorded(recorder, path)
    syncs = [step for step in run if step.kind == "s"]
    assert len(syncs) > 30
    assert {step.kind for step in run} >= {*"wsur"}

    cuts = 0
    for required, after in cut_after_each(run, path, tmp_path, random.Random(11)):
        cuts += 1
        found = kept(after) if after.exists() else []
        assert required <= {*found}, after
        if found:
            require_sound(after)
            assert not [each for each in after.parent.iterdir() if "damaged" in each.name]
        shutil.rmtree(after.parent)
    assert cuts > 50


def test_without_syncs_the_recorded_run_loses_events(recorder: Path, tmp_path: Path) -> None:
    """The test above can fail: it does without the promise that it tests."""
    path = tmp_path / "run" / "outbox.db"
    path.parent.mkdir()
    program = "from pattern_metrics.publisher.outbox import file\n" + AGENT.replace(
        "agents = ",
        "open_ = module.OutboxFile._open\n"
        "def unsynced(self, connection):\n"
        "    rows = open_(self, connection)\n"
        "    connection.execute('PRAGMA synchronous = NORMAL')\n"
        "    return rows\n"
        "module.OutboxFile._open = unsynced\n"
        "agents = ",
    )
    run = recorded(recorder, path, program)

    lost = 0
    for required, after in cut_after_each(run, path, tmp_path, random.Random(11)):
        lost += len(required - {*(kept(after) if after.exists() else [])})
        shutil.rmtree(after.parent)
    assert lost
