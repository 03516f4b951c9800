"""What must hold of the scorer, whatever code it reads."""

import os
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent, indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.scorer import (
    NAME_CHARACTERS_MAX,
    WEIGHTS,
    UnreadableFile,
    band_of,
    find_sources,
    score_file,
    score_paths,
)
from schemas.pattern_scored import PatternScored, parse_event

MEASURED_AT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
STANDARD_LIBRARY_FILES = 150


def events_of(*paths: Path) -> list[PatternScored]:
    results = list(score_paths(paths, measured_at=MEASURED_AT))
    assert not [result for result in results if isinstance(result, UnreadableFile)]
    return [result for result in results if isinstance(result, PatternScored)]


def score_text(text: str) -> dict[str, PatternScored]:
    """Events by their name within the module."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "module.py")
        path.write_text(dedent(text))
        return {str(event.metadata["name"]).partition(":")[2]: event for event in events_of(path)}


def dimensions_of(event: PatternScored) -> dict[str, float]:
    dimensions = event.metadata["dimensions"]
    assert isinstance(dimensions, dict)
    return {name: float(str(value)) for name, value in dimensions.items()}


def names_of(events: list[PatternScored]) -> list[object]:
    return [event.metadata["name"] for event in events]


STATEMENTS = st.sampled_from(
    [
        "pass",
        "...",
        "return",
        "return None",
        "raise NotImplementedError",
        "raise ValueError(path)",
        "total = 1",
        "return total",
        "return [one for one in path if one and total]",
        "# TODO: the rest\ntotal = compute(path)",
        "for one in path:\n    total += one",
        "if path:\n    return total\nelif total:\n    yield path\nelse:\n    print(path)",
        "while True:\n    step()",
        "with open(path) as file:\n    return file.read()",
        "try:\n    step()\nexcept Exception:\n    pass",
        "def inner(one):\n    return one == None",
        "# why this is done\nglobal total",
        "total = eval(path)",
    ]
)
BODIES = st.lists(STATEMENTS, min_size=1, max_size=6).map("\n".join)
DOCSTRINGS = st.one_of(
    st.sampled_from(
        ["Do.", "Return the total of the path, or raise ValueError.", "TODO", ">>> do(1)\n1", "x" * 300]
    ),
    st.text(st.characters(exclude_characters='"\\\0\r', exclude_categories=["Cs"]), min_size=1, max_size=80),
)
NAMES = st.sampled_from(["do", "compute_total", "_hidden", "__call__", "camelCase"])
PARAMETERS = st.lists(st.sampled_from(["path", "total", "x", "id", "maxSize"]), unique=True, max_size=5)
OWNERS = st.sampled_from(["", "class Owner:\n", "class Owner(Protocol):\n"])


def write_function(
    name: str, parameters: list[str], body: str, *, owner: str = "", docstring: str = "", annotated: int = 0
) -> str:
    """A function, or a method of `owner`, with the first so many of parameters and result annotated."""
    receiver = ["self"] if owner else []
    types = [": int" if index < annotated else "" for index in range(len(parameters))]
    typed = [parameter + kind for parameter, kind in zip(parameters, types, strict=True)]
    result = " -> int" if annotated > len(parameters) else ""
    text = f'"""{docstring}"""\n{body}' if docstring else body
    function = f"def {name}({', '.join(receiver + typed)}){result}:\n{indent(text, '    ')}\n"
    return owner + indent(function, "    ") if owner else function


def all_scores(text: str) -> list[float]:
    """Of the function and, where there is one, of the class around it."""
    return [event.quality_score for event in score_text(text).values()]


@given(name=NAMES, parameters=PARAMETERS, body=BODIES, owner=OWNERS, docstring=DOCSTRINGS)
def test_adding_a_docstring_never_lowers_the_score(
    name: str, parameters: list[str], body: str, owner: str, docstring: str
) -> None:
    without = all_scores(write_function(name, parameters, body, owner=owner))
    with_docstring = all_scores(write_function(name, parameters, body, owner=owner, docstring=docstring))
    assert all(more >= less for more, less in zip(with_docstring, without, strict=True))


@given(name=NAMES, parameters=PARAMETERS, body=BODIES, owner=OWNERS)
def test_adding_annotations_never_lowers_the_score(
    name: str, parameters: list[str], body: str, owner: str
) -> None:
    scores = [
        all_scores(write_function(name, parameters, body, owner=owner, annotated=annotated))
        for annotated in range(len(parameters) + 2)
    ]
    assert all(column == tuple(sorted(column)) for column in zip(*scores, strict=True))


@given(name=NAMES, parameters=PARAMETERS, body=BODIES, owner=OWNERS)
def test_a_bare_except_never_raises_the_score(
    name: str, parameters: list[str], body: str, owner: str
) -> None:
    wrapped = f"try:\n{indent(body, '    ')}\nexcept:\n    pass"
    before = all_scores(write_function(name, parameters, body, owner=owner))
    after = all_scores(write_function(name, parameters, wrapped, owner=owner))
    assert all(less <= more for less, more in zip(after, before, strict=True))


@given(
    header=st.sampled_from(["if total:", "for one in path:", "with lock:", "def inner():"]),
    name=NAMES,
    parameters=PARAMETERS,
    body=BODIES,
    owner=OWNERS,
)
def test_nesting_never_raises_the_complexity_dimension(
    header: str, name: str, parameters: list[str], body: str, owner: str
) -> None:
    nested = f"{header}\n{indent(body, '    ')}"
    before = score_text(write_function(name, parameters, body, owner=owner))
    after = score_text(write_function(name, parameters, nested, owner=owner))
    assert all(
        dimensions_of(after[key])["complexity"] <= dimensions_of(before[key])["complexity"] for key in before
    )


@given(name=NAMES, parameters=PARAMETERS, body=BODIES, owner=OWNERS, docstring=DOCSTRINGS)
def test_the_score_is_the_weighted_sum_of_its_dimensions_and_every_event_is_valid(
    name: str, parameters: list[str], body: str, owner: str, docstring: str
) -> None:
    for event in score_text(
        write_function(name, parameters, body, owner=owner, docstring=docstring)
    ).values():
        assert_consistent(event)


def assert_consistent(event: PatternScored) -> None:
    dimensions = dimensions_of(event)
    weighted = sum(WEIGHTS[dimension] * value for dimension, value in dimensions.items())
    assert set(dimensions) == set(WEIGHTS)
    assert all(0 <= value <= 1 for value in dimensions.values())
    assert event.quality_score == pytest.approx(weighted, abs=0.00005)
    assert event.metadata["band"] == band_of(event.quality_score)
    assert parse_event(event.to_json(), accepted_until=MEASURED_AT) == event


def test_the_weights_add_up_to_one_and_a_band_begins_at_its_least_score() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert [band_of(score) for score in (1.0, 0.9, 0.8999, 0.7, 0.6999, 0.5, 0.4999, 0.0)] == [
        *("excellent", "excellent", "good", "good", "fair", "fair", "poor", "poor")
    ]


IMPLEMENTATION = """
def mean_of(values: list[float]) -> float:
    \"\"\"Return the arithmetic mean of the values.\"\"\"
    {}
"""


@pytest.mark.parametrize(
    "stub", ["pass", "...", "return", "return None", "raise NotImplementedError('later')", "# TODO\n    pass"]
)
def test_a_stub_is_lower_than_its_implementation(stub: str) -> None:
    implemented = score_text(IMPLEMENTATION.format("return sum(values) / len(values)"))["mean_of"]
    empty = score_text(IMPLEMENTATION.format(stub))["mean_of"]
    assert empty.quality_score < implemented.quality_score
    assert empty.confidence < implemented.confidence
    assert dimensions_of(empty)["completeness"] == 0


def test_what_is_empty_on_purpose_is_better_than_a_stub_and_worse_than_an_implementation() -> None:
    scores = score_text(
        """
        class Shape:
            @abstractmethod
            def area(self): ...

            def reset(self): ...

            def draw(self):
                # Subclasses may draw here.
                pass

            def paint(self):
                pass  # TODO

            def width(self):
                return max(self.points) - min(self.points)
        """
    )
    area, reset, draw, paint, width = (
        dimensions_of(scores[f"Shape.{name}"])["completeness"]
        for name in ("area", "reset", "draw", "paint", "width")
    )
    assert reset == paint == 0 < area == draw < width


def test_a_reminder_counts_in_a_comment_and_not_in_a_string() -> None:
    scores = score_text(
        '''
        def plain():
            return print("nothing # to do", compute(1), compute(2))

        def quoted():
            return print("# TODO: nothing", compute(1), compute("""
            # FIXME"""))

        def unfinished():
            return print("nothing", compute(1), compute(2))  # TODO: isn't done
        '''
    )
    plain, quoted, unfinished = (dimensions_of(event)["completeness"] for event in scores.values())
    assert unfinished < plain == quoted


def test_to_return_a_value_on_some_paths_only_is_less_complete_than_on_all() -> None:
    scores = score_text(
        """
        def on_all(number):
            if number:
                return check(number)
            elif number > 1:
                raise ValueError
            else:
                with lock:
                    return number

        def on_some(number):
            if number:
                return check(number)
            elif number > 1:
                raise ValueError
            else:
                with lock:
                    print(number)
        """
    )
    assert dimensions_of(scores["on_some"])["completeness"] < dimensions_of(scores["on_all"])["completeness"]


def test_a_person_would_agree_with_the_order() -> None:
    scores = score_text(
        '''
        def parse_size(text: str, *, unit: str = "B") -> int:
            """Convert a size such as `10 KiB` to a number of bytes.

            >>> parse_size("10 KiB")
            10240

            Args:
                text: a number and a unit.
                unit: the unit of a text that names none.

            Raises:
                ValueError: the text is no size.
            """
            match = SIZE.fullmatch(text.strip())
            if match is None:
                raise ValueError(f"not a size: {text}")
            return int(match["number"]) * FACTORS[match["unit"] or unit]

        def read_lines(path):
            """Return the lines of the file at the path."""
            with open(path) as file:
                return [line.rstrip() for line in file]

        def name(self):
            return self._name

        def doIt(x, L=[]):
            global state
            try:
                for a in x:
                    for b in a:
                        if b:
                            if b == None:
                                L.append(eval(b))
                            else:
                                state = b
                                return L
            except:
                pass

        def later(path, size):
            pass
        '''
    )
    assert sorted(scores, key=lambda each: -scores[each].quality_score) == list(scores)
    assert [scores[name].metadata["band"] for name in ("parse_size", "doIt")] == ["excellent", "poor"]


def test_a_class_is_judged_with_its_methods() -> None:
    template = '''
        class Stack:
            """A last-in, first-out collection of items."""

            def push(self, item: object) -> None:
                """Put the item on top."""
                self.items.append(item)

            def pop(self):
                {}
    '''
    good = score_text(template.format('"""Return the item on top."""; return self.items.pop()'))
    bad = score_text(template.format("pass"))
    assert bad["Stack"].quality_score < good["Stack"].quality_score
    assert bad["Stack.push"].quality_score == good["Stack.push"].quality_score


def test_functions_and_classes_are_named_by_where_they_are_defined() -> None:
    scores = score_text(
        """
        if True:
            async def fetch():
                def inner(): ...
            class Outer:
                def method(self): ...
                class Inner:
                    async def method(self): ...
        """
    )
    assert {name: event.metadata["kind"] for name, event in scores.items()} == {
        "fetch": "async_function",
        "Outer": "class",
        "Outer.method": "method",
        "Outer.Inner": "class",
        "Outer.Inner.method": "method",
    }
    assert scores["Outer.Inner"].metadata["location"] == {"path": "module.py", "line": 7, "end_line": 8}


def test_definitions_of_one_name_keep_their_own_ids_in_the_order_of_the_source() -> None:
    text = """
        try:
            def load(): return 1
        except ImportError:
            def load(): return 2
        class Box:
            @property
            def size(self): return 1
            @size.setter
            def size(self, value): self.x = value
        """
    scores = score_text(text)
    assert list(scores) == ["load", "load#2", "Box", "Box.size", "Box.size#2"]
    assert len({event.pattern_id for event in scores.values()}) == len(scores)
    assert scores == score_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages, one in the other, and a script outside of them."""
    for name in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/mod.py", "scripts/run.py"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def {path.parent.name}(value):\n    return value + 1\n")
    return tmp_path / "tree"


def test_the_same_source_gives_the_same_events_whatever_the_argument_and_directory(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = events_of(tree)
    assert names_of(expected) == ["pkg:pkg", "pkg.sub:sub", "pkg.sub.mod:sub", "scripts.run:scripts"]
    assert expected[2].metadata["location"] == {"path": "pkg/sub/mod.py", "line": 1, "end_line": 2}
    (tree.parent / "link").symlink_to(tree)

    assert events_of(tree.parent / "link") == expected
    assert events_of(tree / "pkg", tree / "scripts" / "..") == expected
    assert events_of(tree / "pkg") == expected[:3]
    assert events_of(tree / "pkg" / "sub" / "mod.py") == expected[2:3]
    monkeypatch.chdir(tree)
    assert events_of(Path()) == expected
    monkeypatch.chdir(tree / "pkg" / "sub")
    assert events_of(Path("mod.py")) == expected[2:3]
    assert events_of(Path("../..")) == expected


def test_a_file_given_twice_is_scored_once(tree: Path) -> None:
    assert len(events_of(tree, tree / "pkg", tree / "pkg" / "sub" / "mod.py")) == len(events_of(tree))


def test_other_peoples_code_and_what_is_no_source_are_not_searched_unless_given(tree: Path) -> None:
    expected = events_of(tree)
    for name in (".hidden", "__pycache__", "node_modules", "site-packages", "environment/lib"):
        (tree / name).mkdir(parents=True)
        (tree / name / "other.py").write_text("def other(): return 1\n")
    (tree / "environment" / "pyvenv.cfg").touch()
    (tree / "notes.txt").write_text("not Python")
    (tree / "folder.py").mkdir()
    (tree / "dangling.py").symlink_to(tree / "nowhere.py")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe.py")

    assert events_of(tree) == expected
    assert names_of(events_of(tree / "site-packages")) == ["other:other"]


def test_a_path_that_does_not_exist_is_an_error_before_anything_is_scored(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        score_paths([tree, tree / "missing"], measured_at=MEASURED_AT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = 1\ndef f(:\n", "line 2: "),
        (b"def f(): return '\xff'\n", "decode|encoding"),
        (b"# coding: no-such-codec\n", "unknown encoding"),
        (b"# coding: rot13\n", "encoding"),
        (b"x = 1\0\n", "null"),
        (b"x = " + b"-" * 100_000 + b"1\n", "nested too deeply"),
        (b"x = " + b"(" * 1_000 + b")" * 1_000, "nested|parenthes"),
    ],
    ids=["syntax", "utf-8", "no codec", "no text codec", "null byte", "deep operators", "deep parentheses"],
)
def test_a_file_that_does_not_parse_is_reported_and_the_others_are_scored(
    tree: Path, content: bytes, reason: str
) -> None:
    expected = events_of(tree)
    broken = tree / "pkg" / "broken.py"
    broken.write_bytes(content)

    results = list(score_paths([tree], measured_at=MEASURED_AT))

    assert [result for result in results if isinstance(result, PatternScored)] == expected
    (report,) = [result for result in results if isinstance(result, UnreadableFile)]
    assert report.path == broken
    assert any(part in report.reason for part in reason.split("|")), report.reason


def test_files_are_read_only_as_the_result_is_consumed(tree: Path) -> None:
    results = score_paths([tree], measured_at=MEASURED_AT)
    next(results)
    (tree / "scripts" / "run.py").unlink()
    *_, last = results
    assert last == UnreadableFile(tree / "scripts" / "run.py", "No such file or directory")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "shift_jis"])
def test_the_encoding_and_newlines_of_a_file_change_nothing(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    cookie = encoding.removesuffix("-sig")
    text = f'# coding: {cookie}\n\ndef greet(name):\n    """Say hello."""\n    # why\n    return name\n'
    (tmp_path / "module.py").write_bytes(text.replace("\n", newline).encode(encoding))
    assert events_of(tmp_path / "module.py") == list(score_text(text).values())


def test_a_name_that_no_database_could_hold_is_written_with_escapes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.py"
    Path(os.fsdecode(path)).write_text(f"def {'long' * NAME_CHARACTERS_MAX}(): return 1\n")
    (event,) = events_of(tmp_path)
    assert str(event.metadata["name"]).startswith("caf\\udce9:long")
    assert len(str(event.metadata["name"])) == NAME_CHARACTERS_MAX
    assert_consistent(event)


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "effect.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        f"def f(x=pathlib.Path({str(trace)!r}).touch()): return x\n"
    )
    before = set(sys.modules)
    assert names_of(events_of(tmp_path)) == ["effect:f"]
    assert not trace.exists()
    assert "effect" not in set(sys.modules) - before


def test_an_elif_chain_of_any_length_is_scored(tmp_path: Path) -> None:
    chain = "".join(f"    elif x == {number}:\n        return {number}\n" for number in range(900))
    (tmp_path / "chain.py").write_text(f"def f(x):\n    if x:\n        return 0\n{chain}")
    (event,) = events_of(tmp_path)
    assert dimensions_of(event)["complexity"] == 0


def test_every_file_of_the_standard_library_is_scored_or_reported() -> None:
    sources = find_sources([STANDARD_LIBRARY])
    sample = sources[:: max(1, len(sources) // STANDARD_LIBRARY_FILES)]
    seen = set()
    for source in sample:
        results = score_file(source, measured_at=MEASURED_AT)
        for result in results:
            if isinstance(result, UnreadableFile):
                assert len(results) == 1
                continue
            assert_consistent(result)
            assert result.pattern_id not in seen
            seen.add(result.pattern_id)
    assert len(seen) > len(sample)
