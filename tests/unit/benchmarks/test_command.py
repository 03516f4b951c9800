"""The arguments of the command line."""

import pytest

from benchmarks.__main__ import parse


@pytest.mark.parametrize("option", ["--events", "--repetitions"])
@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_anything_but_a_whole_number_above_0_is_wrong_usage(
    option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([option, number])
    assert f"argument {option}: {number} is not a whole number above 0" in capsys.readouterr().err


def test_as_much_as_is_asked_for_is_measured() -> None:
    options = parse(["--events", "1", "--repetitions", "2"])
    assert (options.events, options.repetitions) == (1, 2)
