"""Validators of JSON Schema in other languages give each vector the verdict that its line names."""

import json
import subprocess
from pathlib import Path

from pattern_metrics.schemas.generate import JSON_SCHEMA_FILE
from tests.languages.test_examples import BUILT, run
from tests.support.vectors import FILE, vectors


def test_ajv_says_of_each_vector_what_its_line_says() -> None:
    modules = BUILT / "ajv"
    if not modules.exists():
        modules.mkdir(parents=True)
        options = ["--no-package-lock", "--no-save", "--ignore-scripts", "--silent"]
        run("npm", "install", *options, "ajv@8.20.0", "ajv-formats@3.0.1", directory=modules)
    program = Path(__file__).with_name("ajv.mjs")
    schema = FILE.with_name(JSON_SCHEMA_FILE)

    ran = subprocess.run(["node", program, schema, FILE, modules], check=True, capture_output=True)

    assert json.loads(ran.stdout) == {
        vector.name: vector.schema for vector in vectors() if vector.schema is not None
    }
