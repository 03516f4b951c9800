"""A few rules of the house, where a test is cheaper than an argument."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pattern_metrics.schemas.bands import BANDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "publisher", "consumer", "migrations")
TESTS = ROOT / "tests"

OFFSET_ARITHMETIC = re.compile(r"\boffsets?\b\)?\s*[+-]=?\s*1\b|\b(end|start)\b\)?\s*[+-]=?\s*1\b")

PROSE_FOLDERS = (*PACKAGES, "benchmarks", "deploy", "docs", "tests")
PROSE_SUFFIXES = {".py", ".sql", ".js", ".md", ".yml", ".yaml", ".service", ".sh"}

HEADLESS = re.compile(
    r"\s*(What|Where|Whether|Who|Whom|Whose|Whoever|Whatever|Which|Those|That|Of|How|When|Why|As|So|If|Likewise)\b"
)
HEADLESS_ENTRY = re.compile(r"^ +(\w+: (?:of|by|from|to|as given)\b.*)", flags=re.MULTILINE)
PRIVATE_WORDS = re.compile(
    r"\b(told|tells|tell\s(of|that|what|how)|anew|sets?\saside|let(s|ting)?\sgo\sof|in\shand|weather|set-up"
    r"|whoever|who\s(asks|looks)|h[oe]ld\sagainst|given\sback|of\san\sevening|of\sone\ssitting)\b",
    flags=re.IGNORECASE,
)


def sources(*directories: Path) -> list[Path]:
    return [path for directory in directories for path in sorted(directory.rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in sources(*(ROOT / package for package in PACKAGES)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield path, node


def test_only_one_module_does_arithmetic_on_offsets() -> None:
    guilty = {
        name_of(path)
        for path in sources(*(ROOT / package for package in PACKAGES))
        if OFFSET_ARITHMETIC.search(path.read_text(encoding="utf-8"))
    }

    assert guilty == {"consumer/records/offsets.py"}


def test_each_error_says_what_it_means() -> None:
    errors = [
        (path, node)
        for path, node in classes()
        if any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]

    assert errors
    assert not [f"{name_of(path)}: {node.name}" for path, node in errors if not ast.get_docstring(node)]


def test_no_public_class_has_a_name_twice_and_no_constant_two_values() -> None:
    meanings = defaultdict[str, dict[str, str]](dict)
    for path in sources(*(ROOT / package for package in PACKAGES)):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                meanings[node.name][name_of(path)] = name_of(path)
            for name, value in constants(node):
                meanings[name][name_of(path)] = value

    assert meanings
    assert not {name: homes for name, homes in meanings.items() if len(set(homes.values())) > 1}


def constants(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the names in upper case that a statement of a module sets, and their value's expression."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name) and target.id.isupper():
                yield target.id, ast.unparse(node.value)


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    guilty = {
        name_of(path)
        for path in sources(TESTS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "sleep" for alias in node.names))
    }

    assert guilty == {"tests/support/waiting.py"}


@pytest.mark.parametrize(
    "path", [path for path in sources(TESTS) if path.name.startswith("test_")], ids=name_of
)
def test_the_name_of_a_test_is_a_sentence(path: Path) -> None:
    tests = [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]

    assert tests
    assert not [name for name in tests if len(name.removeprefix("test_").split("_")) < 3]


def test_the_page_has_the_bands_of_the_scorer() -> None:
    script = (ROOT / "consumer" / "dashboard" / "static" / "parts.js").read_text(encoding="utf-8")

    found = re.findall(r'name: "(\w+)", least: ([\d.]+)', script)

    assert [(band, float(least)) for band, least in found] == [*BANDS.items()]


def prose_files() -> list[Path]:
    paths = [path for folder in PROSE_FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    # The list of changes quotes former names.
    paths += [path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"]
    return [path for path in paths if path.suffix in PROSE_SUFFIXES]


def docstrings(tree: ast.AST) -> list[ast.Constant]:
    """Return the docstrings of modules, classes, functions and attributes."""
    statements = [
        each for node in ast.walk(tree) if isinstance(body := getattr(node, "body", 0), list) for each in body
    ]
    values = [each.value for each in statements if isinstance(each, ast.Expr)]
    return [each for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def prose_of(path: Path) -> Iterator[str]:
    """Yield the docstrings, comments and sentences of Python, and the whole text of other files."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def test_no_docstring_begins_with_a_headless_clause() -> None:
    found = [
        f"{name_of(path)}:{docstring.lineno}"
        for path in prose_files()
        if path.suffix == ".py"
        for docstring in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if HEADLESS.match(str(docstring.value))
    ]

    assert not found


def test_no_entry_of_a_docstring_lacks_its_noun() -> None:
    found = [
        f"{name_of(path)}: {match.group(1)}"
        for path in prose_files()
        if path.suffix == ".py"
        for docstring in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        for match in HEADLESS_ENTRY.finditer(str(docstring.value))
    ]

    assert not found


def test_no_text_has_a_private_word_where_the_trade_has_one() -> None:
    found = [
        f"{name_of(path)}: {match.group()}"
        for path in prose_files()
        for text in prose_of(path)
        for match in PRIVATE_WORDS.finditer(text)
    ]

    assert not found
