"""Compares the objects of the Helm chart with the objects that kustomize makes.

Usage: python compare.py KUSTOMIZE.yaml HELM.yaml
"""

import re
import sys
from difflib import unified_diff
from pathlib import Path

import yaml

OF_ONE_TOOL = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "namespace",
}
OF_A_TOOL = ("helm.sh/", "checksum/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/")
SUFFIX = re.compile(r"^(pattern-metrics(?:-migration|-gateway)?)-(?:\d+\.\d+\.\d+|[a-z0-9]{10})$")
"""Kustomize ends the Job's name with the version, and a ConfigMap's with a hash of ten characters.

`pattern-metrics-dashboard` has nine characters there."""


def common(value: object) -> object:
    """Return the value without the parts that only one of the two tools writes."""
    if isinstance(value, list):
        return [common(part) for part in value]
    if isinstance(value, dict):
        parts = {
            key: common(part)
            for key, part in value.items()
            if key not in OF_ONE_TOOL and not key.startswith(OF_A_TOOL)
        }
        return {key: part for key, part in parts.items() if part != {}}
    if isinstance(value, str):  # each tool breaks the lines of a long text in its own way
        return SUFFIX.sub(r"\1", " ".join(value.split()))
    return value


def objects(file: str) -> dict[str, list[str]]:
    """Return the lines of each object in a file, by its kind and name."""
    documents = yaml.safe_load_all(Path(file).read_text(encoding="utf-8"))
    found = [common(document) for document in documents if document]
    return {f"{one['kind']} {one['metadata']['name']}": yaml.safe_dump(one).splitlines() for one in found}


def main(kustomize: str, helm: str) -> None:
    """Print the differences. Exits 1 if there are any, or if there is nothing to compare."""
    expected, actual = objects(kustomize), objects(helm)
    lines = [
        line
        for name in sorted(expected.keys() | actual.keys())
        for line in unified_diff(
            expected.get(name, []), actual.get(name, []), f"kustomize: {name}", f"helm: {name}", lineterm=""
        )
    ]
    if lines or not expected:
        sys.exit("\n".join(lines) or "nothing to compare")


main(*sys.argv[1:])
