"""Files as programs write them: each is read, or refused in one line."""

import bz2
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pyarrow.parquet
import pytest

from pattern_metrics.consumer.operations.files.recognition import read_measurements
from pattern_metrics.consumer.operations.files.refusals import Refusals
from pattern_metrics.consumer.operations.files.source import BrokenSourceError, InvalidSourceError
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import value
from tests.support.files import FAR, PACKERS, Pipe, events_of, lines_of

PATTERN = "00000000-0000-0000-0000-00000000000a"
HEADER = "pattern_id,quality_score,confidence,measurement_timestamp,version,metadata"
ROW = f"{PATTERN},0.5,1,2025-01-01T10:00:00Z,1,"


def fates(content: str | bytes) -> list[PatternEvent | RejectReason]:
    file = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return [
        event.reason if isinstance(event, InvalidEventError) else event
        for _, event in read_events(lines_of(file), accepted_until=FAR)
    ]


@pytest.mark.parametrize(
    "content",
    [
        f",{HEADER}\n0,{ROW}\n1,{ROW}\n",
        f'"",{HEADER}\r\n"1",{ROW}\r\n"2",{ROW}\r\n',
        f"{HEADER},,\n{ROW},,\n,,,,,,,\n{ROW},,\n , ,\n",
        f"\n{HEADER}\n\n{ROW}\n\n{ROW}",
        f"{HEADER}\n{ROW}\n{ROW}\n".replace(",", ";").replace("0.5", "0,5"),
        f"{HEADER}\r{ROW}\r{ROW}\r".replace(",", "\t"),
        f"{HEADER}\n{ROW}\\N\n{ROW}\n",
        f"{HEADER}\n{ROW}\n{ROW}".replace(",", ", "),
        f"{HEADER},event_id\n{ROW}NA,NA\n{ROW} NaN,<NA>\n",
    ],
    ids=["pandas", "R", "Excel", "blank lines", "Excel in Europe", "tabs", "null mark", "spaces", "NA"],
)
def test_a_table_is_read_as_programs_write_it(content: str) -> None:
    assert [event.pattern_id for event in events_of(io.BytesIO(content.encode()))] == [UUID(PATTERN)] * 2


PARQUET = {
    "a UUID as 16 bytes": ("pattern_id", pyarrow.array([UUID(PATTERN).bytes] * 2, pyarrow.binary(16))),
    "a text as bytes": ("pattern_id", pyarrow.array([PATTERN.encode()] * 2, pyarrow.binary())),
    "a narrow number": ("quality_score", pyarrow.array([0.5] * 2, pyarrow.float32())),
    "a structure": ("metadata", pyarrow.array([{"name": "f", "at": datetime(2025, 1, 1, tzinfo=UTC)}, None])),
}


def a_parquet(**columns: object) -> bytes:
    """Return a file of two rows, of which some columns are as given."""
    usual = {"pattern_id": PATTERN, "quality_score": 0.5, "confidence": 1.0}
    time = datetime(2025, 1, 1, tzinfo=UTC)
    rows = {name: [one] * 2 for name, one in {**usual, "measurement_timestamp": time}.items()}
    output = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({**rows, **columns}), output)
    return output.getvalue()


@pytest.mark.parametrize("form", PARQUET)
def test_a_parquet_file_is_read_as_programs_write_it(form: str) -> None:
    name, column = PARQUET[form]
    events = events_of(io.BytesIO(a_parquet(**{name: column})))

    assert [(event.pattern_id, event.quality_score) for event in events] == [(UUID(PATTERN), 0.5)] * 2


@pytest.mark.parametrize("microseconds", [1_736_500_000_000_000_000, -62_135_596_800_000_001])
def test_a_time_that_python_cannot_hold_costs_its_row_alone(microseconds: int) -> None:
    times = pyarrow.array([microseconds, 0], pyarrow.timestamp("us", tz="UTC"))

    refused, event = fates(a_parquet(measurement_timestamp=times))

    assert refused is RejectReason.INVALID_FIELD
    assert isinstance(event, PatternScored)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2025-01-01 10:00:00+00", "2025-01-01T10:00:00+00:00"),
        ("2025-01-01 10:00:00.25+05:30", "2025-01-01T04:30:00.250000+00:00"),
        ("2025-01-01 10:00:00-0330", "2025-01-01T13:30:00+00:00"),
        ("2025-01-01 10:00:00 UTC", "2025-01-01T10:00:00+00:00"),
        ("1890-01-01 00:00:00+00:53:28", "1889-12-31T23:06:32+00:00"),
    ],
)
def test_a_time_of_a_table_may_have_the_offset_that_programs_write(text: str, utc: str) -> None:
    [event] = events_of(io.BytesIO(f"{HEADER}\n{ROW}".replace("2025-01-01T10:00:00Z", text).encode()))

    assert event.measurement_timestamp.isoformat() == utc


@pytest.mark.parametrize(
    "text",
    ["2025-01-01 10:00:00", "infinity", "0044-03-15 00:00:00+00 BC", "2025-01-01", "45658.4", "1735725600"],
)
def test_a_time_without_an_offset_is_refused_with_its_row(text: str) -> None:
    content = f"{HEADER}\n{ROW}\n{ROW}".replace("2025-01-01T10:00:00Z", text, 1)

    [refused, event] = fates(content)

    assert refused is RejectReason.INVALID_FIELD
    assert isinstance(event, PatternScored)


@pytest.mark.parametrize("opening", ["[", '{""a"":'])
@pytest.mark.parametrize("depth", [150, 300, 2_000, 200_000])
def test_a_deep_cell_costs_its_row_alone(opening: str, depth: int) -> None:
    cell = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
    content = f'{HEADER}\n{ROW}\n{ROW}"{cell}"\n{ROW}"{opening * depth}"\n{ROW}"\\ud800{cell}"\n{ROW}\n'

    first, *deep, last = fates(content)

    assert isinstance(first, PatternScored)
    assert isinstance(last, PatternScored)
    assert all(isinstance(fate, RejectReason) for fate in deep)
    assert len(deep) == 3


def test_a_cell_cannot_name_another_field_of_its_row() -> None:
    content = f'{HEADER}\n{ROW}"{{}}, ""quality_score"": 1"\n'

    assert fates(content) == [RejectReason.INVALID_FIELD]


def test_metadata_of_a_cell_keeps_all_its_digits() -> None:
    [(_, line)] = lines_of(io.BytesIO(f'{HEADER}\n{ROW}"{{""a"": 0.10000000000000000000001}}"'.encode()))

    assert b"0.10000000000000000000001" in line


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("pattern_id,quality_score,measurement_timestamp\n", "lacks confidence"),
        ("pattern_id;confidence\n", "lacks quality_score, measurement_timestamp"),
        (f"{HEADER},Version \n{ROW}", "version twice"),
        ("a,b\n1,2\n", "neither JSON"),
        ("nonsense", "neither JSON"),
        ("[1, 2]", "neither JSON"),
        ('[[{"a": 1}]]', "not a JSON object"),
        ('[{"a" 1}]', "not JSON"),
        ('[{"a": 1', "too early"),
        (value().decode().encode("utf-16"), "UTF-16"),
        (value().decode().encode("utf-16-le"), "UTF-16"),
        (HEADER.encode("utf-16-be"), "UTF-16"),
        (bz2.compress(value()), "bzip2"),
        (lzma.compress(value()), "xz"),
        (b"PGCOPY\n\xff\r\n\0" + bytes(8), "binary COPY"),
        (b"PAR1" + bytes(100) + b"PAR1", "Parquet"),
        (b"\x1f\x8b\x08" + bytes(40), "corrupt|too early"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "corrupt|too early"),
        (PACKERS["gzip"](PACKERS["zstd"](value())), "twice"),
    ],
)
def test_another_file_is_refused_before_anything_is_read(content: str | bytes, why: str) -> None:
    with pytest.raises(InvalidSourceError, match=why) as refused:
        read_measurements(io.BytesIO(content if isinstance(content, bytes) else content.encode()))

    assert "\n" not in str(refused.value)


def test_an_excel_workbook_is_refused() -> None:
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")

    with pytest.raises(InvalidSourceError, match="Excel"):
        read_measurements(io.BytesIO(workbook.getvalue()))


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf", b"[]", b" [\n]\n"])
def test_a_file_without_a_measurement_is_no_error(content: bytes) -> None:
    assert fates(content) == []


@pytest.mark.parametrize(
    "first", [b"nonsense", b'{"cut": "o', b'{"cut": 1,', b'{"cut": [', b"# a comment", b"{}{}", b'{"a": {']
)
def test_a_bad_first_line_costs_itself_alone(first: bytes) -> None:
    refused, *events = fates(first + b"\n" + value() + b"\n" + value())

    assert isinstance(refused, RejectReason)
    assert all(isinstance(event, PatternScored) for event in events)
    assert len(events) == 2


@pytest.mark.parametrize("first", [value() + b"\n", f"{HEADER}\n{ROW}\n".encode(), b"[" + value() + b","])
def test_a_record_is_there_before_the_pipe_brings_the_next(first: bytes) -> None:
    class StalledError(Exception):
        pass

    class Stalling(Pipe):
        def read1(self, size: int | None = -1, /) -> bytes:
            chunk = super().read1(size)
            if not chunk:
                raise StalledError
            return chunk

    parts = read_measurements(Stalling(first)).parts

    assert len(next(parts).lines) == 1
    with pytest.raises(StalledError):
        next(parts)


@pytest.mark.parametrize(
    "tail", [b"", b", ", b"]]", b', {"a": 1', b'{"a" 1}', b", 1]", b'{"a": 1}}', b'{"a": "\n"}'], ids=repr
)
def test_a_fault_in_an_array_ends_it_and_says_where(tail: bytes) -> None:
    pipe = Pipe(b"[" + value() + b", " + value() + tail, [2 * len(value())])
    parts = read_measurements(pipe).parts

    seen = [next(parts).lines]
    with pytest.raises(BrokenSourceError, match=r"read up to object \d$"):
        seen.extend(part.lines for part in parts)


@pytest.mark.parametrize(
    ("reasons", "read", "shared"),
    [
        ([RejectReason.INVALID_FIELD] * 3, 3, "first"),
        ([RejectReason.INVALID_FIELD] * 3, 4, None),
        ([RejectReason.INVALID_FIELD, RejectReason.MISSING_FIELD], 2, None),
        ([RejectReason.INVALID_FIELD], 1, None),
        ([], 0, None),
    ],
)
def test_a_reason_that_all_lines_share_is_known(
    reasons: list[RejectReason], read: int, shared: str | None
) -> None:
    refusals = Refusals()
    for number, reason in enumerate(reasons):
        refusals.add(reason, "later" if number else "first")

    assert refusals.shared_by_all(read) == shared


def pretty(count: int) -> str:
    return "\n".join(json.dumps(json.loads(value()), indent=1) for _ in range(count))


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_pretty_objects_are_numbered_one_by_one(pack: Callable[[bytes], bytes]) -> None:
    measurements = read_measurements(io.BytesIO(pack(pretty(3).encode())))

    assert measurements.unit == "object"
    assert [number for part in measurements.parts for number, _ in part.lines] == [1, 2, 3]
