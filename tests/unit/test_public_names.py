"""`import pattern_metrics`: exactly the public names, each with only what it needs."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pattern_metrics
from pattern_metrics.schemas import extras

NAMES = {
    "BlockingScorePublisher",
    "InvalidEventError",
    "Measurement",
    "PatternRetired",
    "PatternScored",
    "PublishError",
    "Published",
    "RefusedEvent",
    "RejectReason",
    "ScorePublisher",
    "__version__",
    "pattern_id_of",
    "store_quality_metrics",
}

MODULES_MAX = 40
"""Number of modules of the standard library; today some thirty, most of them for `typing`."""


def imported_by(statement: str) -> set[str]:
    """Return the modules that a statement imports in a new interpreter."""
    code = (
        f"import json, sys; before = set(sys.modules); {statement}; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    return set(json.loads(ended.stdout))


def libraries(modules: set[str]) -> set[str]:
    """Return the top-level names that are not Python's own."""
    tops = {module.partition(".")[0] for module in modules}
    return {top for top in tops if not top.startswith("_")} - sys.stdlib_module_names


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(pattern_metrics.__all__) == NAMES
    assert len(pattern_metrics.__all__) == len(NAMES)
    assert set(dir(pattern_metrics)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_public_name_loads_what_it_says(name: str) -> None:
    code = f"import pattern_metrics; value = pattern_metrics.{name}; print(getattr(value, '__name__', value))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)

    expected = pattern_metrics.__version__ if name == "__version__" else name
    assert ended.stdout.decode().strip() == expected


def test_a_star_import_brings_every_public_name() -> None:
    namespace: dict[str, object] = {}
    exec("from pattern_metrics import *", namespace)

    assert set(namespace) - {"__builtins__"} == NAMES


@pytest.mark.parametrize("name", ["ScorePublisherr", "_home_", "consumers", "__wrapped__"])
def test_a_name_that_is_not_public_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(pattern_metrics, name)


def test_the_types_and_the_loader_agree_on_where_each_name_lives() -> None:
    tree = ast.parse(inspect.getsource(pattern_metrics))
    [typed] = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {
        alias.name: str(node.module)
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    declared = [ast.unparse(node.target) for node in typed.body if isinstance(node, ast.AnnAssign)]

    assert homes == {name: f"pattern_metrics.{home}" for name, home in pattern_metrics._HOMES.items()}
    assert declared == ["__version__"]
    assert {*homes, *declared} == NAMES


def test_the_version_is_that_of_the_project() -> None:
    pyproject = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")

    assert f'version = "{pattern_metrics.__version__}"' in pyproject


def test_the_package_itself_imports_a_little_of_the_standard_library() -> None:
    imported = imported_by("import pattern_metrics") - {"pattern_metrics"}

    assert libraries(imported) == set()
    assert len(imported) <= MODULES_MAX
    assert not {"asyncio", "ssl", "inspect", "json", "logging"} & imported


@pytest.mark.parametrize(
    "statement",
    [
        "from pattern_metrics import Measurement",
        "from pattern_metrics import PatternScored",
        "import pattern_metrics.publisher.scoring.scorer",
    ],
)
def test_models_and_scorer_import_no_library_but_that_of_the_models(statement: str) -> None:
    allowed = {"annotated_types", "msgspec", "pattern_metrics", "pydantic", "pydantic_core"}

    assert libraries(imported_by(statement)) <= {*allowed, "typing_extensions", "typing_inspection"}


@pytest.mark.parametrize("name", ["InvalidEventError", "RejectReason", "__version__", "pattern_id_of"])
def test_a_command_without_need_of_a_library_imports_none(name: str) -> None:
    assert libraries(imported_by(f"from pattern_metrics import {name}")) == {"pattern_metrics"}


@pytest.mark.parametrize("name", ["BlockingScorePublisher", "PublishError", "ScorePublisher"])
def test_the_publisher_imports_nothing_of_any_extra(name: str) -> None:
    imported = libraries(imported_by(f"from pattern_metrics import {name}"))
    of_extras = {module for modules in extras.MODULES.values() for module in modules}

    assert "aiokafka" in imported
    assert not imported & of_extras
    assert not {"typer", "rich", "structlog"} & imported


def test_the_list_of_commands_imports_no_library_but_that_of_the_commands() -> None:
    imported = imported_by("import pattern_metrics.consumer.cli.app")

    allowed = {"annotated_doc", "pattern_metrics", "shellingham", "typer", "typing_extensions"}
    assert libraries(imported) <= allowed
    assert not {"asyncio", "ssl", "logging"} & imported
