"""Writes JSON Schemas for kubeconform, so that it needs no network: Kubernetes' from a wheel, and CRDs'.

Usage: python schemas.py VERSION DIRECTORY CRD…
"""

import json
import sys
from pathlib import Path

import kubernetes_validate
import yaml

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def closed(schema: object) -> object:
    """Return the schema without permission for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def main(version: str, directory: str, *definition_files: str) -> None:
    """Write the schemas into the directory."""
    target = Path(directory)
    target.mkdir()
    wheel = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"{version}-local-strict"
    for path in (wheel / "_definitions.json", *wheel.glob("*-*.json")):
        text = path.read_text(encoding="utf-8").replace('"/api/_definitions', '"_definitions')
        schema = {"$schema": DIALECT, **json.loads(text)}
        schema.pop("$id", None)  # an address at which they do not exist
        (target / path.name).write_text(json.dumps(schema), encoding="utf-8")
    for file in definition_files:
        definition = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["spec"]
        group = definition["group"].partition(".")[0]
        for one in definition["versions"]:
            schema = closed(one["schema"]["openAPIV3Schema"])
            name = f"{definition['names']['singular']}-{group}-{one['name']}.json"
            (target / name).write_text(json.dumps(schema), encoding="utf-8")


main(*sys.argv[1:])
