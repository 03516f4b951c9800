"""Validators of JSON Schema in other languages give each vector the verdict that its line names."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from pattern_metrics.schemas.generate import JSON_SCHEMA_FILE
from tests.languages.test_examples import BUILT, Command, run
from tests.support.vectors import FILE, vectors

HERE: Final = Path(__file__).parent

OF_A_FORMAT: Final = {"29 February of a common year"}
"""The vectors that only a validator of `format` refuses; by default it is a remark."""


def ajv() -> Command:
    modules = BUILT / "ajv"
    if not modules.exists():
        modules.mkdir(parents=True)
        options = ["--no-package-lock", "--no-save", "--ignore-scripts", "--silent"]
        run("npm", "install", *options, "ajv@8.20.0", "ajv-formats@3.0.1", directory=modules)
    return ["node", HERE / "ajv.mjs", modules]


def go() -> Command:
    program = BUILT / "go/validate"
    run("go", "mod", "tidy", directory=HERE / "go")
    run("go", "vet", ".", directory=HERE / "go")
    run("go", "build", "-o", program, ".", directory=HERE / "go")
    return [program]


def java() -> Command:
    libraries = BUILT / "java"
    if not libraries.exists():
        copy = f"-DoutputDirectory={libraries}"
        run("mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", copy, directory=HERE / "java")
    return ["java", "-cp", f"{libraries}/*", HERE / "java/Validate.java"]


@pytest.mark.parametrize(("validator", "checks_format"), [(ajv, True), (go, False), (java, False)])
def test_a_validator_says_of_each_vector_what_its_line_says(
    validator: Callable[[], Command], checks_format: bool
) -> None:
    command = [*validator(), FILE.with_name(JSON_SCHEMA_FILE), FILE]

    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)

    assert json.loads(ran.stdout) == {
        vector.name: "accepts" if vector.name in OF_A_FORMAT and not checks_format else vector.schema
        for vector in vectors()
        if vector.schema is not None
    }
