"""A command's output file: whole or absent, even with other writers, and refused before the work."""

import os
import stat
from pathlib import Path

import pytest

from pattern_metrics.consumer.cli import output
from pattern_metrics.consumer.cli.output import OutputError, writing


def test_of_two_that_write_one_file_at_once_each_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"

    with writing(file) as first:
        first(b"first ")
        with writing(file) as second:
            second(b"second ")
            first(b"whole")
            second(b"whole")
        assert file.read_bytes() == b"second whole"

    assert file.read_bytes() == b"first whole"
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("suffix", [".part", ".tmp", "~", ".1.part"])
def test_a_file_of_the_user_beside_it_stays(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / "export.jsonl"
    other = file.with_name(file.name + suffix)
    other.write_text("mine")

    with writing(file) as write:
        write(b"ours")
    with pytest.raises(ZeroDivisionError), writing(file) as write:
        write(b"ours" + bytes([1 // 0]))

    assert (file.read_bytes(), other.read_text()) == (b"ours", "mine")
    assert {*tmp_path.iterdir()} == {file, other}


@pytest.mark.parametrize("character", ["x", "é"])
def test_a_name_may_be_as_long_as_the_file_system_lets(tmp_path: Path, character: str) -> None:
    file = tmp_path / (character * (255 // len(character.encode())))

    with writing(file) as write:
        write(b"whole")

    assert file.read_bytes() == b"whole"


def test_a_new_file_has_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with writing(tmp_path / "new") as write:
            write(b"")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_mounted_file_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted, mounts = tmp_path / "a file.jsonl", tmp_path / "mountinfo"
    mounted.touch()
    place = str(mounted).replace(" ", "\\040")
    mounts.write_text(f"36 35 98:0 /volume {place} rw,noatime master:1 - ext4 /dev/root rw\n")
    monkeypatch.setattr(output, "_MOUNTS", mounts)

    with pytest.raises(OutputError, match="mount point"), writing(mounted):
        pytest.fail("the work began")

    assert {*tmp_path.iterdir()} == {mounted, mounts}


def test_the_file_of_somebody_else_in_a_sticky_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "export.jsonl"
    file.touch()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)

    with pytest.raises(OutputError, match="somebody else"), writing(file):
        pytest.fail("the work began")
    with writing(tmp_path / "another") as write:
        write(b"")
