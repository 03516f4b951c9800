"""A damaged byte anywhere: no damaged event is handed out, and every event that can be read is kept."""

import logging
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.publisher.outbox import salvage
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.publisher.outbox.row import OutboxRow
from tests.outbox.rows import a_row, ids, require_sound

PAGE = 4096
EXAMPLES = 20
ROWS = [
    a_row(n, pattern=n % 5, measured=n * 13 % 40, text="x" * (9000 if n % 10 == 0 else 30)) for n in range(40)
]
REFUSED = {7, 20}


def write(path: Path, *, is_closed: bool) -> None:
    """Write an outbox; an open one still has all events in its log, as after a kill."""
    file = OutboxFile(path)
    for row in ROWS:
        file.append([[row]])
    file.settle([], [(row, "too large") for row in file.newest() if ids([row])[0] in REFUSED])
    if not is_closed:
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    file.close()
    if not is_closed:
        for suffix in ("", "-wal"):
            shutil.move(f"{path}.copy{suffix}", f"{path}{suffix}")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("closed") / "outbox.db"
    write(path, is_closed=True)
    return path


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("killed") / "outbox.db"
    write(path, is_closed=False)
    return path


def flipped(source: Path, directory: Path, suffix: str, at: int, mask: int) -> Path:
    path = directory / "outbox.db"
    for each in ("", "-wal"):
        if Path(f"{source}{each}").exists():
            shutil.copy(f"{source}{each}", f"{path}{each}")
    content = bytearray(Path(f"{path}{suffix}").read_bytes())
    content[at % len(content)] ^= mask
    Path(f"{path}{suffix}").write_bytes(content)
    return path


def on_page(path: Path, number: int) -> set[bytes]:
    """Return the events that a page of the file has a part of."""
    pages = salvage._pages(str(path))
    without = {n: page for n, page in pages.items() if n != number}
    return {row.event_id for row in salvage._rows(pages, pages)} - {
        row.event_id for row in salvage._rows(without, without)
    }


def require_all_but(path: Path, lost: set[bytes]) -> None:
    """Check what is handed out, after every way in which an outbox is used."""
    file, expected = OutboxFile(path), {row.event_id: row for row in ROWS}
    file.append([[a_row(1000)]])
    waiting = file.newest()
    everything = [*file.each()]
    file.settle(waiting[:1], [])
    assert ids([row for row in everything if row.event_id not in expected]) == [1000]
    for row in everything:
        if row.event_id in expected:
            assert row[:7] == expected[row.event_id][:7]
    found = {row.event_id for row in everything}
    assert {row.event_id for row in ROWS} - found <= lost
    assert {row.event_id for row in everything if row.reason} <= {n.to_bytes(16) for n in REFUSED}
    while rows := file.newest():
        file.settle(rows, [])
    file.discard()
    file.append([[a_row(1001)]])
    assert ids([*file.each()]) == [1001]
    file.close()


@settings(max_examples=EXAMPLES)
@given(at=st.integers(0, 2**20), mask=st.integers(1, 255))
def test_a_damaged_byte_costs_at_most_the_events_of_its_page(
    closed: Path, tmp_path_factory: pytest.TempPathFactory, at: int, mask: int
) -> None:
    path = flipped(closed, tmp_path_factory.mktemp("flipped"), "", at, mask)

    require_all_but(path, on_page(closed, at % closed.stat().st_size // PAGE + 1))


def test_a_damaged_byte_in_each_page_costs_at_most_its_events(closed: Path, tmp_path: Path) -> None:
    """The first bytes of a page are the ones that join the pages."""
    for page in range(closed.stat().st_size // PAGE):
        for byte in (3, 8):
            directory = tmp_path / f"{page}-{byte}"
            directory.mkdir()
            path = flipped(closed, directory, "", page * PAGE + byte, 0x41)
            require_all_but(path, on_page(closed, page + 1))


@settings(max_examples=EXAMPLES)
@given(at=st.integers(0, 2**24), mask=st.integers(1, 255))
def test_a_damaged_byte_in_the_log_costs_at_most_one_event(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, at: int, mask: int
) -> None:
    """SQLite reads the log up to the first damaged frame. The frames behind it still hold events."""
    path = flipped(killed, tmp_path_factory.mktemp("flipped"), "-wal", at, mask)

    file = OutboxFile(path)
    lost = {row.event_id for row in ROWS} - {row.event_id for row in file.each()}
    file.close()
    assert len(lost) <= 1
    require_all_but(path, lost)


def test_a_cut_in_the_list_of_free_pages_is_no_end(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    file = OutboxFile(path)
    for n in range(200):
        file.append([[a_row(n, text="x" * 3_000)]])
    file.settle(file.newest()[:150], [])
    file.close()
    content = path.read_bytes()
    trunk = int.from_bytes(content[32:36], "big")
    assert trunk
    for extra in (1, 7, 9, 500):
        assert salvage._free({1: content[:PAGE], trunk: content[PAGE * (trunk - 1) :][:extra]}) == {trunk}


def test_the_damaged_file_is_moved_aside_and_the_number_is_logged(
    closed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = flipped(closed, tmp_path, "", 0, 0xFF)
    damaged = path.read_bytes()

    with caplog.at_level(logging.WARNING):
        assert OutboxFile(path).status().events == len(ROWS) - len(REFUSED)

    [aside] = [each for each in tmp_path.iterdir() if ".damaged-" in each.name]
    assert aside.read_bytes() == damaged
    assert aside.stat().st_mode & 0o777 == 0o600
    assert f"{len(ROWS)} events of it are kept, and it is now {aside}" in caplog.text


@pytest.mark.parametrize("interrupted_at", ["replace", "_remove", "_copy", "sync_directory"])
def test_an_interrupted_salvage_loses_nothing(
    closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: str
) -> None:
    path = flipped(closed, tmp_path, "", 0, 0xFF)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os if interrupted_at == "replace" else salvage, interrupted_at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            OutboxFile(path).status()

    assert OutboxFile(path).status().events == len(ROWS) - len(REFUSED)
    require_sound(path)


def test_events_that_were_delivered_do_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    write(path, is_closed=True)
    file = OutboxFile(path)
    file.settle(file.newest(), [])
    file.append([[a_row(1000)]])
    file.close()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)

    assert {*ids([*OutboxFile(path).each()])} == {*REFUSED, 1000}


def test_a_process_that_has_the_damaged_file_open_uses_the_new_one(tmp_path: Path) -> None:
    """It also leaves the log of the new file alone when it closes the damaged one."""
    path = tmp_path / "outbox.db"
    first, second = OutboxFile(path), OutboxFile(path)
    first.append([[a_row(1)]])
    second.append([[a_row(2)]])
    second._disconnect()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    second.append([[a_row(3)]])

    first.append([[a_row(4)]])
    second.append([[a_row(5)]])
    first.close()
    second.append([[a_row(6)]])

    assert ids([*OutboxFile(path).each()]) == [1, 2, 3, 4, 5, 6]
    second.close()
    require_sound(path)


def test_rows_of_any_types_are_not_taken_for_sound() -> None:
    row = a_row(1)

    assert row.is_sound
    for index in range(6):
        for value in (None, 1.5, b"x", "x", -1):
            if value != row[index]:
                assert not OutboxRow._make((*row[:index], value, *row[index + 1 :])).is_sound


def test_an_outbox_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match=str(tmp_path)):
        OutboxFile(tmp_path).append([[a_row(1)]])
