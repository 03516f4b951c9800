"""Files as people write them are read back equal, in any dialect, packing and division into pieces."""

import csv
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.operations.files.cells import escape, unescape
from pattern_metrics.consumer.operations.files.source import (
    RECORD_BYTES_MAX,
    BrokenSourceError,
    InvalidSourceError,
)
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.files import FAR, PACKERS, Pipe, events_of, lines_of

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.text("=+-@\t\r\n'\\N\";,|{}[] ü", max_size=20),
)
ZONES = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EVENTS = st.lists(
    st.builds(
        PatternScored,
        event_id=st.uuids(),
        pattern_id=st.uuids(),
        quality_score=st.floats(0, 1),
        confidence=st.floats(0, 1),
        measurement_timestamp=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES),  # noqa: DTZ001 - of the drawn zone
        version=TEXTS,
        metadata=st.dictionaries(
            TEXTS, TEXTS | st.integers(-(2**53), 2**53) | st.lists(st.none()), max_size=3
        ),
    ),
    min_size=1,
    max_size=5,
)
SIZES = st.lists(st.integers(1, 40), max_size=200)

COLUMNS = tuple(PatternScored.model_fields)


def time_spellings(time: datetime) -> list[str]:
    """Return the same time as RFC 3339, PostgreSQL and others write it."""
    text = time.isoformat()
    spellings = [text, text.replace("T", " "), text.replace("+00:00", "Z"), text.replace("+00:00", " UTC")]
    spellings += [text[:-3] + text[-2:]]
    return [*spellings, text[:-3]] if text.endswith(":00") else spellings


@st.composite
def as_csv(draw: Callable[[Any], Any], events: list[PatternScored]) -> bytes:
    terminator = draw(st.sampled_from(["\r\n", "\n", "\r"]))
    quoting = csv.QUOTE_MINIMAL if terminator == "\r\n" and draw(st.booleans()) else csv.QUOTE_ALL
    delimiter = draw(st.sampled_from(",;\t|"))
    unknown = draw(st.lists(st.sampled_from(["", "id", "created_at"]), max_size=3))
    columns = draw(st.permutations([*COLUMNS, *unknown]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=terminator)  # type: ignore[arg-type]
    writer.writerow([draw(st.sampled_from([name, name.upper(), f" {name} "])) for name in columns])
    for event in events:
        fields = event.model_dump(mode="json")
        if draw(st.booleans()):
            writer.writerow([""] * len(columns))
        cells = fields | {
            "metadata": event.metadata_json.decode(),
            "version": escape(event.version),
            "measurement_timestamp": draw(st.sampled_from(time_spellings(event.measurement_timestamp))),
        }
        writer.writerow([cells.get(name, "anything") for name in columns])
    bom = "\ufeff" if draw(st.booleans()) else ""
    return (bom + text.getvalue()).encode()


@st.composite
def as_json(draw: Callable[[Any], Any], events: list[PatternScored]) -> bytes:
    ascii_only: bool = draw(st.booleans())
    bom: str = draw(st.sampled_from(["", "\ufeff"]))
    fields = [event.model_dump(mode="json") for event in events]
    indent: int | str | None = draw(st.sampled_from([None, 0, 2, "\t"]))
    match draw(st.sampled_from(["lines", "array", "one after the other"])):
        case "lines":
            line_break: str = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
            text = line_break.join(json.dumps(one, ensure_ascii=ascii_only) for one in fields)
        case "array":
            text = json.dumps(fields, ensure_ascii=ascii_only, indent=indent)
        case _:
            text = "\n".join(json.dumps(one, ensure_ascii=ascii_only, indent=2) for one in fields)
    return (bom + text).encode()


@st.composite
def as_parquet(draw: Callable[[Any], Any], events: list[PatternScored]) -> bytes:
    rows = [
        event.model_dump(mode="json")
        | {
            "measurement_timestamp": event.measurement_timestamp,
            "metadata": event.metadata_json.decode(),
        }
        for event in events
    ]
    file = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), file, compression=draw(st.sampled_from(["zstd", "none"]))
    )
    return file.getvalue()


def files(events: list[PatternScored]) -> st.SearchStrategy[tuple[list[PatternScored], bytes]]:
    content = as_csv(events) | as_json(events) | as_parquet(events)
    return st.tuples(st.just(events), content)


@given(EVENTS.flatmap(files), st.sampled_from([*PACKERS.values()]), SIZES)
def test_a_file_comes_back_equal(
    written: tuple[list[PatternScored], bytes], pack: Callable[[bytes], bytes], sizes: list[int]
) -> None:
    events, content = written

    assert events_of(Pipe(pack(content), sizes)) == events


@given(EVENTS.flatmap(files), st.sampled_from(["gzip", "zstd"]), st.floats(0, 1), SIZES)
def test_a_cut_archive_gives_a_prefix_and_says_that_it_is_cut(
    written: tuple[list[PatternScored], bytes], packing: str, part: float, sizes: list[int]
) -> None:
    events, content = written
    packed = PACKERS[packing](content)
    cut = packed[: max(4, min(int(len(packed) * part), len(packed) - 1))]
    seen = list[object]()

    with pytest.raises((BrokenSourceError, InvalidSourceError)) as refused:
        seen.extend(event for _, event in read_events(lines_of(Pipe(cut, sizes)), accepted_until=FAR))

    assert "\n" not in str(refused.value)
    assert seen == events[: len(seen)]


BEGINNINGS = st.sampled_from(
    [
        b"",
        b"[",
        b"[{",
        b'{"pattern_id": ',
        b'{\n"a": ',
        b'[{"a": 1}, ',
        b"\xef\xbb\xbf",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"pattern_id,quality_score,confidence,measurement_timestamp,metadata,\n",
        b'"pattern_id";"quality_score";"confidence";"measurement_timestamp"\r\n',
    ]
)
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.text('{}[]",:\\\n\r\t0a\0 \x85\u2028', max_size=100).map(str.encode),
    st.integers(1, 3000).map(lambda depth: b'{"a":' * depth),
    st.integers(1, 3000).map(lambda depth: b",,,," + b"[" * depth + b'"\\ud800"' + b"]" * depth),
)


@given(BEGINNINGS, GARBAGE, st.sampled_from([*PACKERS.values()]), SIZES)
def test_garbage_is_refused_line_by_line_or_as_a_whole(
    beginning: bytes, garbage: bytes, pack: Callable[[bytes], bytes], sizes: list[int]
) -> None:
    with suppress(InvalidSourceError, BrokenSourceError):
        for _ in read_events(lines_of(Pipe(pack(beginning + garbage), sizes)), accepted_until=FAR):
            pass


@given(TEXTS)
def test_an_escaped_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = escape(text)

    assert unescape(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell not in {"", r"\N"}


PEAK_BYTES_MAX = 4 * RECORD_BYTES_MAX

CSV_HEADER = "pattern_id,quality_score,confidence,measurement_timestamp\n"


@pytest.mark.parametrize(
    ("beginning", "filler"),
    [
        ('{"a": "', "xxxx"),
        ('[{"a": "', "xxxx"),
        ('{\n"a": "', "xxxx"),
        (f'{CSV_HEADER}"', "xxxx"),
        (f'{CSV_HEADER}"', "x" * 1000 + '","\n'),
        ("", "xxxx"),
    ],
)
@pytest.mark.parametrize("packing", ["as it is", "gzip", "zstd"])
def test_a_record_that_never_ends_is_held_up_to_a_limit(beginning: str, filler: str, packing: str) -> None:
    content = beginning + filler * (4 * RECORD_BYTES_MAX // len(filler))
    pipe = Pipe(PACKERS[packing](content.encode()))

    refused = pytest.raises((InvalidSourceError, BrokenSourceError), match=r"longer than 16 MiB|neither JSON")
    with peak_bytes() as peak, refused:
        list(lines_of(pipe))

    assert peak[0] < PEAK_BYTES_MAX


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Yield a list that gets the peak of Python's memory in the block, above its memory before."""
    was_tracing, peak = tracemalloc.is_tracing(), list[int]()
    tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        if not was_tracing:
            tracemalloc.stop()
