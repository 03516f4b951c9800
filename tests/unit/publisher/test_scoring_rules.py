"""Properties of the scoring rules."""

from textwrap import indent

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pattern_metrics.publisher.scoring.scorer import WEIGHTS
from pattern_metrics.schemas.bands import band_of
from tests.unit.publisher.scoring import assert_consistent, dimensions_of, score_text

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
    """Return a function, or a method of `owner`; its first `annotated` names have annotations."""
    receiver = ["self"] if owner else []
    types = [": int" if index < annotated else "" for index in range(len(parameters))]
    typed = [parameter + kind for parameter, kind in zip(parameters, types, strict=True)]
    result = " -> int" if annotated > len(parameters) else ""
    text = f'"""{docstring}"""\n{body}' if docstring else body
    function = f"def {name}({', '.join(receiver + typed)}){result}:\n{indent(text, '    ')}\n"
    return owner + indent(function, "    ") if owner else function


def all_scores(text: str) -> list[float]:
    """Return the scores of the function and of the class around it, if there is one."""
    return [event.quality_score for event in score_text(text).values()]


@given(name=NAMES, parameters=PARAMETERS, body=BODIES, owner=OWNERS, docstring=DOCSTRINGS)
@example(name="_hidden", parameters=[], body="\n".join(["call()"] * 20), owner="", docstring="Do.")
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


def test_an_intended_empty_body_scores_between_a_stub_and_an_implementation() -> None:
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
                # TODO
                pass

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
                ValueError: the text is not a size.
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


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("def f(x): try_it(x)", "def camelCase(x): try_it(x)"),
        ("def f(x): try_it(x)", "def f(X): try_it(X)"),
        ("def f(x): try_it(x)", "def f(id): try_it(id)"),
        ("def f(x=()): try_it(x)", "def f(x=[]): try_it(x)"),
        ("def f(x=()): try_it(x)", "def f(*, x=list()): try_it(x)"),
        ("def f(x): call(x)", "def f(x): exec(x)"),
        ("def f(x): return x is None", "def f(x): return x == None"),
        ("def f(x):\n    nonlocal y\n    y = x", "def f(x):\n    global y\n    y = x"),
        (f"def f(x): return {'x' * 83}", f"def f(x): return {'x' * 84}"),
        ("def f(x):\n    try: x()\n    except E: x()", "def f(x):\n    try: x()\n    except: x(E)"),
        (
            "def f(x):\n    try: x()\n    except E: pass",
            "def f(x):\n    try: x()\n    except Exception: pass",
        ),
        ("def f(x):" + "\n    x()" * 49, "def f(x):" + "\n    x()" * 50),
        ("def f(x): return" + " x and" * 14 + " x", "def f(x): return" + " x and" * 15 + " x"),
        ("class CapWords: x = 1", "class snake_case: x = 1"),
    ],
)
def test_each_fault_lowers_the_compliance_dimension(right: str, wrong: str) -> None:
    (kept,), (broken,) = score_text(right).values(), score_text(wrong).values()
    assert dimensions_of(broken)["compliance"] < dimensions_of(kept)["compliance"]


def test_a_docstring_breaks_no_rule_of_the_code() -> None:
    template = 'class Box:\n    """{0}"""\n    def size(self):\n        """{0}"""\n        return self.x\n'
    short, long = score_text(template.format("Box.")), score_text(template.format("x" * 300))
    assert all(
        dimensions_of(short[name])["compliance"] == dimensions_of(long[name])["compliance"] for name in short
    )


def test_deeper_nesting_is_more_complex_and_an_elif_is_no_deeper() -> None:
    scores = score_text(
        """
        def nested(x):
            if x:
                if x.a:
                    if x.b:
                        if x.c:
                            return x

        def chained(x):
            if x:
                return x
            elif x.a:
                return x
            elif x.b:
                return x
            elif x.c:
                return x
        """
    )
    assert dimensions_of(scores["nested"])["complexity"] < dimensions_of(scores["chained"])["complexity"] == 1


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
