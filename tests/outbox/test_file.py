"""The outbox's file: its events, their order, its bound, and the files that it refuses to open."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.publisher.outbox import file as module
from pattern_metrics.publisher.outbox import place
from pattern_metrics.publisher.outbox.file import BATCH_ROWS, OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError, OutboxFullError, locked
from pattern_metrics.publisher.outbox.row import OutboxRow
from pattern_metrics.publisher.outbox.writer import OutboxWriter
from tests.outbox.rows import a_row, ids, in_child, kept, require_sound, succeeded


def test_the_newest_measurements_are_handed_out_first(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(n, measured=n * 7 % 100) for n in range(100)]])

    rows = file.newest()

    assert [row.measured for row in rows] == [*range(99, -1, -1)]
    file.settle(rows[:60], [])
    assert [row.measured for row in file.newest()] == [*range(39, -1, -1)]
    file.close()
    require_sound(path)


def test_one_turn_hands_out_a_bounded_number_of_events_and_bytes(file: OutboxFile) -> None:
    file.append([[a_row(n, measured=n) for n in range(BATCH_ROWS + 1)]])

    assert len(file.newest()) == BATCH_ROWS

    file.append([[a_row(n, measured=10**6 + n, text="x" * 60_000) for n in range(200)]])

    sizes = [row.size for row in file.newest()]
    assert sum(sizes[:-1]) <= module.BATCH_BYTES < sum(sizes)


def test_two_flushers_settle_each_event_once(file: OutboxFile, path: Path) -> None:
    """Both have delivered it: what comes after it under the next place must not be deleted."""
    file.append([[a_row(1), a_row(2)]])
    first, second = file.newest(), file.newest()
    file.settle(first, [])
    file.append([[a_row(3), a_row(4)]])
    file.settle(second, [])
    file.settle([], [(row, "late") for row in second])

    file.close()
    assert sorted(kept(path)) == [3, 4]
    require_sound(path)


def test_a_refused_event_is_kept_apart_until_it_is_discarded(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(n, measured=n) for n in range(4)]])
    rows = file.newest()
    file.settle(rows[2:], [(rows[0], "too large"), (rows[1], "invalid")])

    assert file.newest() == []
    assert file.status()[:2] + file.status()[3:4] == (0, rows[0].size + rows[1].size, 2)
    assert {(int.from_bytes(row.event_id), row.reason) for row in file.each(refused=True)} == {
        (3, "too large"),
        (2, "invalid"),
    }
    assert file.discard([(3).to_bytes(16), (9).to_bytes(16)]) == 1
    assert file.discard() == 1
    assert file.status()[:4] == (0, 0, None, 0)
    file.close()
    require_sound(path)


def test_an_event_that_waits_is_never_discarded(file: OutboxFile) -> None:
    file.append([[a_row(1)]])

    assert file.discard() == file.discard([(1).to_bytes(16)]) == 0
    assert ids(file.newest()) == [1]


def test_an_outbox_that_is_not_there_is_empty_and_is_not_created(file: OutboxFile, path: Path) -> None:
    assert file.status() == (0, 0, None, 0, str(path))
    assert list(file.each()) == []
    assert file.discard() == file.compact() == 0
    assert not path.parent.exists()


def test_compacting_gives_the_free_space_back(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(n, text="x" * 5000) for n in range(200)]])
    file.settle(file.newest()[:199], [])

    assert file.compact() < 50_000
    file.close()
    assert len(kept(path)) == 1
    require_sound(path)


# The bound


def test_at_the_bound_exactly_the_events_that_fit_are_stored(path: Path) -> None:
    row = a_row(10)
    file = OutboxFile(path, max_bytes=row.size * 10)

    assert file.append([[a_row(n) for n in range(10, 14)], [a_row(n) for n in range(14, 23)]]) == [4, 6]
    assert file.append([[a_row(30)]]) == [0]
    file.settle(file.newest()[:1], [])
    assert file.append([[a_row(31), a_row(32)]]) == [1]
    file.close()
    require_sound(path)


def test_refuse_names_the_bound_at_once(path: Path) -> None:
    writer = OutboxWriter(OutboxFile(path, max_bytes=a_row(1).size))

    assert writer.put([[a_row(1)]]) == (1, None)
    stored, error = writer.put([[a_row(2)]])

    assert stored == 0
    assert isinstance(error, OutboxFullError)
    assert "OUTBOX_MAX_BYTES" in str(error)
    writer.close()


def test_block_waits_until_there_is_space(path: Path) -> None:
    """The first of the events that wait has its place already, and is not stored twice."""
    file = OutboxFile(path, max_bytes=2 * a_row(1).size)
    writer = OutboxWriter(file, block_seconds=60)
    assert writer.put([[a_row(1)]]) == (1, None)

    answers = list[object]()
    waiting = threading.Thread(target=lambda: answers.append(writer.put([[a_row(2), a_row(3)]])))
    waiting.start()
    while file.status().events < 2:
        waiting.join(0.01)
    waiting.join(0.2)
    assert waiting.is_alive()
    file.settle(file.newest(), [])  # as another process does
    waiting.join(60)

    assert answers == [(2, None)]
    assert ids(file.newest()) == [3]
    writer.close()


def test_block_ends_with_an_error_after_its_time(path: Path) -> None:
    writer = OutboxWriter(OutboxFile(path, max_bytes=a_row(1).size), block_seconds=0.1)
    began = time.monotonic()

    stored, error = writer.put([[a_row(1), a_row(2)]])

    assert stored == 1
    assert isinstance(error, OutboxFullError)
    assert time.monotonic() - began >= 0.1
    writer.close()


@given(
    events=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), max_size=40),
    fitting=st.integers(1, 12),
)
def test_coalesce_keeps_the_newest_event_of_each_pattern(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int]], fitting: int
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    rows = [a_row(100 + n, pattern, measured) for n, (pattern, measured) in enumerate(events)]
    file = OutboxFile(path, max_bytes=fitting * a_row(100).size, is_coalescing=True)
    accepted = list[OutboxRow]()

    for row in rows:
        before = {(each.pattern_id, each.event_id) for each in file.newest()}
        stored = file.append([[row]]) == [1]
        accepted += [row] * stored
        patterns = {pattern for pattern, _ in before} | {row.pattern_id}
        assert stored == (len(before) < fitting or len(patterns) <= fitting)

    found = list(file.each())
    newest = {row.pattern_id: row for row in sorted(accepted, key=lambda row: (row.measured, row.event_id))}
    assert {row.event_id for row in newest.values()} <= {row.event_id for row in found}
    assert len(found) <= fitting
    file.close()
    if found:
        require_sound(path)


def test_without_the_bound_coalesce_deletes_nothing(path: Path) -> None:
    file = OutboxFile(path, is_coalescing=True)
    file.append([[a_row(n, measured=n) for n in range(50)]])

    assert len(file.newest()) == 50


# What it refuses


def refusal(path: Path, work: Callable[[OutboxFile], object] | None = None) -> str:
    with pytest.raises(OutboxError) as caught:
        (work or (lambda file: file.append([[a_row(1)]])))(OutboxFile(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_the_file_is_for_its_owner_alone(file: OutboxFile, path: Path) -> None:
    umask = os.umask(0)
    try:
        file.append([[a_row(1)]])
    finally:
        os.umask(umask)

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {
        "outbox.db": 0o600,
        "outbox.db-wal": 0o600,
        "outbox.db-shm": 0o600,
        "outbox.db.lock": 0o600,
    }


def test_another_users_outbox_is_refused(
    file: OutboxFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.append([[a_row(1)]])
    file.close()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    assert "belongs to the user" in refusal(path)


def test_a_user_without_the_right_is_refused_in_one_line(file: OutboxFile, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    file.append([[a_row(1)]])
    file.close()

    def as_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)
        assert "Permission denied" in refusal(path)

    assert succeeded(in_child(as_nobody))


def test_a_read_only_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # root may write everywhere but there
        assert "outbox" in refusal(Path("/proc/outbox.db"))
        return
    tmp_path.chmod(0o500)

    assert "Permission denied" in refusal(tmp_path / "outbox.db")


@pytest.mark.parametrize("kind", sorted(place._NETWORK))
def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    monkeypatch.setattr(place, "file_system_type", lambda _directory: kind)

    message = refusal(path)

    assert place._NETWORK[kind] in message
    assert "OUTBOX_PATH" in message
    assert not path.exists()


def test_the_type_of_this_file_system_is_what_the_system_says(tmp_path: Path) -> None:
    said = subprocess.run(["stat", "-f", "-c", "%t", tmp_path], capture_output=True, check=True, text=True)

    assert place.file_system_type(str(tmp_path)) == int(said.stdout, 16)


@pytest.mark.parametrize("content", [b"my notes\n" * 100, b"SQLite format 3\0" + bytes(200), b"x"])
def test_another_file_is_refused_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    assert "is another file" in refusal(path)
    assert path.read_bytes() == content


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, a_socket])
def test_what_is_no_regular_file_is_refused_and_stays_as_it_is(
    path: Path, make: Callable[[Path], object]
) -> None:
    """An outbox takes the place of an empty file. For root, that could be /dev/null."""
    path.parent.mkdir()
    make(path)
    before = path.stat()

    assert "is not a regular file" in refusal(path)
    after = path.stat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


def test_another_programs_database_is_refused_and_stays_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (x)")
    connection.close()
    before = path.read_bytes()

    assert "is another file" in refusal(path)
    assert path.read_bytes() == before


def test_a_file_of_another_version_is_refused_and_stays_as_it_is(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(1)]])
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
        connection.execute(f"PRAGMA application_id = {module._APPLICATION | 2}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()

    assert "has the version 2, and this program knows 1" in refusal(path)
    assert not [each for each in path.parent.iterdir() if "damaged" in each.name]


def test_an_empty_file_becomes_an_outbox(path: Path) -> None:
    """For example one that mktemp made."""
    path.parent.mkdir()
    path.touch()

    assert OutboxFile(path).append([[a_row(1)]]) == [1]
    assert kept(path) == [1]


def test_each_name_of_the_file_is_the_same_outbox(file: OutboxFile, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    file.append([[a_row(1)]])

    assert OutboxFile(link).append([[a_row(2)]]) == [1]
    assert kept(path) == [1, 2]
    assert not link.with_name("link.db.lock").exists()


def test_an_outbox_that_was_deleted_is_created_again(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(1)]])
    for each in list(path.parent.iterdir()):
        each.unlink()

    assert file.append([[a_row(2)]]) == [1]
    assert kept(path) == [2]


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]])
def test_a_log_that_was_deleted_under_an_open_outbox_costs_no_event(path: Path, suffixes: list[str]) -> None:
    """SQLite would write on into the file without a name, and a loss of power would lose it."""
    file = OutboxFile(path)
    for n in range(3):
        file.append([[a_row(n)]])
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink()
    for n in range(3, 6):
        file.append([[a_row(n)]])

    assert {*kept(path)} == {*range(6)}
    file.close()
    require_sound(path)


def test_a_file_with_two_names_is_refused_by_both(file: OutboxFile, path: Path) -> None:
    """Each name would have a log of its own, in which the other name's process finds nothing."""
    file.append([[a_row(1)]])
    file.close()
    other = path.with_name("other.db")
    other.hardlink_to(path)

    for name in (path, other):
        with pytest.raises(OutboxError, match="has another name too"):
            OutboxFile(name).append([[a_row(2)]])
    other.unlink()
    assert kept(path) == [1]


def test_an_error_that_nobody_expects_reaches_the_caller_and_ends_no_thread(
    file: OutboxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OutboxWriter(file)
    with monkeypatch.context() as broken:
        broken.setattr(file, "append", None)
        assert "not callable" in str(writer.put([[a_row(1)]]).error)
    assert writer.put([[a_row(2)]]) == (1, None)
    writer.close()


def test_a_process_that_keeps_the_lock_makes_no_caller_wait_for_ever(path: Path) -> None:
    file = OutboxFile(path, lock_seconds=0.1)
    path.parent.mkdir()
    with locked(f"{path}.lock", seconds=0), pytest.raises(OutboxError, match="locked by another process"):
        file.append([[a_row(1)]])

    assert file.append([[a_row(1)]]) == [1]


FULL_DISK = """
import resource, signal, sys
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError
from tests.outbox.rows import a_row
file = OutboxFile(sys.argv[1])
file.append([[a_row(0)]])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
stored, errors = 1, 0
for n in range(1, 200):
    try:
        stored += sum(file.append([[a_row(n, text="x" * 20_000)]]))
    except OutboxError as error:
        assert "\\n" not in str(error), error
        errors += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.append([[a_row(500)]])
print(stored + 1, errors)
"""


def test_a_full_disk_is_an_error_and_the_file_stays_sound(path: Path) -> None:
    """A limit on the file's size stands for the disk: a write beyond it fails in the middle."""
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    stored, errors = map(int, ran.stdout.split())

    assert errors
    assert len(kept(path)) == stored
    assert {0, 1, 500} <= set(kept(path))
    require_sound(path)


def test_an_interrupted_transaction_changes_nothing(file: OutboxFile, path: Path) -> None:
    file.append([[a_row(1), a_row(2), a_row(3)]])
    before = file.status()

    rows = file.newest()

    def interrupted() -> Iterator[OutboxRow]:
        yield rows[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.settle(interrupted(), [])

    assert file.status()[:2] == before[:2]
    assert file.append([[a_row(4)]]) == [1]
    file.close()
    assert {*kept(path)} == {1, 2, 3, 4}
    assert not [each for each in path.parent.iterdir() if "damaged" in each.name]
    require_sound(path)


def test_a_clock_that_jumps_changes_no_promise(
    file: OutboxFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for n, jump in enumerate((0, 10**9, -(10**9))):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        file.append([[a_row(n)]])
        assert file.status().oldest_seconds >= 0  # type: ignore[operator]  # an event waits
    file.settle(file.newest()[:1], [])

    file.close()
    assert len(kept(path)) == 2
    require_sound(path)
