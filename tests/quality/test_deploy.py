"""Manifests, unit and workflow agree with the settings, the commands and the worker.

`make check-deploy` checks the same files with the real tools.
"""

import json
import re
import shutil
import subprocess
import tomllib
from inspect import signature
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pattern_metrics.consumer.cli.agents import topic_create
from pattern_metrics.consumer.gateway.delivery import OUTBOX_STOP_SECONDS
from pattern_metrics.consumer.gateway.server import DRAIN_SECONDS
from pattern_metrics.consumer.postgres.connection import CONNECT_SECONDS_MAX
from pattern_metrics.consumer.settings import GatewaySettings, LogSettings, WorkerSettings
from pattern_metrics.schemas.settings.timing import TIMING
from tests.quality.test_compose import parse

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
BASE, DASHBOARD, GATEWAY = (KUBERNETES / name for name in ("base", "dashboard", "gateway"))
RELEASE = KUBERNETES / "release/kustomization.yaml"
CHART = ROOT / "deploy/helm/pattern-metrics"
FIELDS = WorkerSettings.model_fields | LogSettings.model_fields

Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    manifest: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return manifest


KUSTOMIZATION = read(BASE / "kustomization.yaml")
WORKER = read(BASE / "worker.yaml")
PODS = {
    path.stem: read(path)["spec"]["template"]["spec"]
    for path in (
        *(BASE / "worker.yaml", BASE / "migration.yaml"),
        *(DASHBOARD / "dashboard.yaml", GATEWAY / "gateway.yaml"),
    )
}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy/systemd/pattern-metrics.service").read_text(encoding="utf-8")
CHECK = (ROOT / "deploy/check.sh").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
[SETTINGS] = KUSTOMIZATION["configMapGenerator"]
LITERALS = dict(literal.split("=", 1) for literal in SETTINGS["literals"])
GATEWAY_STOP_SECONDS = DRAIN_SECONDS + OUTBOX_STOP_SECONDS
STOP_SECONDS = int(LITERALS["SHUTDOWN_GRACE_SECONDS"]) + TIMING.leave + CONNECT_SECONDS_MAX


@pytest.mark.parametrize("name", sorted(path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml")))
def test_every_manifest_is_one_of_what_is_applied_and_checked(name: str) -> None:
    directory = KUBERNETES / name
    kustomization = read(directory / "kustomization.yaml")
    files = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml"}
    named = {
        *kustomization.get("resources", ()),
        *(patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch),
    }
    checked = re.search(r"^for directory in (.*); do$", CHECK, flags=re.MULTILINE)

    assert files == {file for file in named if not file.startswith("../")}
    assert checked
    if kustomization["kind"] == "Component":
        users = (read(path).get("components", ()) for path in KUBERNETES.glob("*/kustomization.yaml"))
        assert f"../{name}" in {component for components in users for component in components}
    else:
        assert name in checked[1].split()


def test_each_variable_of_the_map_is_a_setting_and_its_value_is_valid() -> None:
    fields = {variable.lower(): value for variable, value in LITERALS.items()}

    assert set(LITERALS) <= {field.upper() for field in FIELDS}
    WorkerSettings.model_validate({"database_url": "postgresql://", **fields})
    LogSettings.model_validate(fields)


@pytest.mark.parametrize("name", PODS)
def test_a_secret_comes_by_reference_alone(name: str) -> None:
    [container] = PODS[name]["containers"]

    assert {variable["name"]: list(variable["valueFrom"]) for variable in container.get("env", ())} == (
        {} if name == "gateway" else {"DATABASE_URL": ["secretKeyRef"]}
    )
    assert not [variable for variable in LITERALS if re.search(r"PASSWORD|DATABASE_URL", variable)]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_a_command_that_there_is_and_has_no_right_beyond_that(name: str) -> None:
    pod = PODS[name]
    [container] = pod["containers"]
    user = int(re.search(r"USER (\d+):", DOCKERFILE)[1])  # type: ignore[index]

    parse(container["args"])
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_probes_ask_where_it_is_served() -> None:
    [worker] = PODS["worker"]["containers"]
    [port] = worker["ports"]
    probes = {name: worker[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    annotations = WORKER["spec"]["template"]["metadata"]["annotations"]

    assert LITERALS["HTTP_HOST"] == "0.0.0.0"
    assert {str(port["containerPort"]), annotations["prometheus.io/port"]} == {LITERALS["HTTP_PORT"]}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }


def test_the_network_policy_and_the_disruption_budget_are_of_these_pods_alone() -> None:
    """Kustomize adds no label to an empty selector, which would select every Pod in the namespace."""
    policy = read(BASE / "network_policy.yaml")["spec"]
    [labels] = KUSTOMIZATION["labels"]

    assert policy["podSelector"]["matchLabels"] == labels["pairs"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert read(BASE / "disruption_budget.yaml")["spec"]["selector"] == WORKER["spec"]["selector"]


def test_the_page_is_found_by_its_service_and_reached_by_no_other_pod() -> None:
    [container] = PODS["dashboard"]["containers"]
    [port] = container["ports"]
    deployment = read(DASHBOARD / "dashboard.yaml")
    service = read(DASHBOARD / "service.yaml")["spec"]
    policy = read(DASHBOARD / "network_policy.yaml")["spec"]
    [labels] = read(DASHBOARD / "kustomization.yaml")["labels"]
    probes = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}

    assert f"EXPOSE {port['containerPort']}" in DOCKERFILE
    assert service["ports"] == [{"name": port["name"], "port": 80, "targetPort": port["name"]}]
    assert service["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert policy["podSelector"]["matchLabels"] == labels["pairs"] != KUSTOMIZATION["labels"][0]["pairs"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    assert probes == {"/livez"}


def test_the_gateway_has_its_tokens_its_probes_and_no_way_to_the_database() -> None:
    [container] = PODS["gateway"]["containers"]
    [settings] = read(GATEWAY / "kustomization.yaml")["configMapGenerator"]
    literals = dict(literal.split("=", 1) for literal in settings["literals"])
    policy = read(GATEWAY / "network_policy.yaml")["spec"]
    [mount] = container["volumeMounts"]
    [volume] = PODS["gateway"]["volumes"]
    probes = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]

    GatewaySettings.model_validate({name.lower(): value for name, value in literals.items()})
    LogSettings.model_validate({name.lower(): value for name, value in literals.items()})
    assert literals["GATEWAY_TOKENS_FILE"].startswith(f"{mount['mountPath']}/")
    assert set(volume) == {"name", "secret"}
    assert str(container["ports"][0]["containerPort"]) == literals["HTTP_PORT"]
    assert probes == ["/livez", "/livez", "/readyz"]
    assert [port["port"] for port in policy["egress"][1]["ports"]] == [9092, 9093]
    assert all("from" in rule for rule in policy["ingress"])


def test_the_prometheus_operator_scrapes_the_workers_where_they_serve() -> None:
    monitor = read(KUBERNETES / "monitoring/pod_monitor.yaml")["spec"]
    [worker] = PODS["worker"]["containers"]
    labels = KUSTOMIZATION["labels"][0]["pairs"] | WORKER["spec"]["template"]["metadata"]["labels"]

    assert monitor["selector"]["matchLabels"] == labels
    assert [one["port"] for one in monitor["podMetricsEndpoints"]] == [worker["ports"][0]["name"]]


def test_the_prometheus_operator_scrapes_the_gateway_through_its_service() -> None:
    monitor = read(KUBERNETES / "monitoring/service_monitor.yaml")["spec"]
    [labels] = read(GATEWAY / "kustomization.yaml")["labels"]
    [port] = read(GATEWAY / "service.yaml")["spec"]["ports"]

    assert monitor["selector"]["matchLabels"] == labels["pairs"]
    assert [one["port"] for one in monitor["endpoints"]] == [port["name"]]


def test_the_number_of_workers_follows_the_lag_up_to_the_partitions() -> None:
    scaled = read(ROOT / "deploy/kubernetes/keda/scaled_object.yaml")["spec"]
    [trigger] = scaled["triggers"]
    variables = {value for key, value in trigger["metadata"].items() if key.endswith("FromEnv")}

    assert scaled["scaleTargetRef"]["name"] == WORKER["metadata"]["name"]
    assert scaled["maxReplicaCount"] == signature(topic_create).parameters["partitions"].default
    assert variables == {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_GROUP_ID", "KAFKA_TOPIC"} <= set(LITERALS)


def versions(root: Path) -> list[str]:
    """Return the version from each place that has one."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = read(root / CHART.relative_to(ROOT) / "Chart.yaml")
    release = read(root / RELEASE.relative_to(ROOT))
    [image], [job] = release["images"], release["patches"]
    [renaming] = yaml.safe_load(job["patch"])
    version = renaming["value"].removeprefix(f"{job['target']['name']}-")
    return [project["version"], chart["version"], chart["appVersion"], image["newTag"], version]


def test_image_chart_and_job_are_of_this_release() -> None:
    assert len(set(versions(ROOT))) == 1, "make version"
    for path in set(KUBERNETES.glob("*/kustomization.yaml")) - {RELEASE}:
        kustomization = read(path)
        assert not [image for image in kustomization.get("images", ()) if "newTag" in image]
        has_pods = any(
            "image: pattern-metrics" in file.read_text("utf-8") for file in path.parent.glob("*.yaml")
        )
        assert has_pods == ("../release" in kustomization.get("components", ()))


def test_one_command_sets_the_version_everywhere(tmp_path: Path) -> None:
    for path in (ROOT / "Makefile", ROOT / "pyproject.toml", CHART / "Chart.yaml", RELEASE):
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))

    for version in ("12.0.3", "12.1.0-rc.1", "12.1.0"):
        subprocess.run(
            ["make", "version", f"VERSION={version}"], cwd=tmp_path, check=True, capture_output=True
        )
        assert versions(tmp_path) == [version] * 5
    for wrong in ("", "12", "12.1.0rc1", "v12.1.0"):
        ran = subprocess.run(
            ["make", "version", f"VERSION={wrong}"], cwd=tmp_path, check=False, capture_output=True
        )
        assert ran.returncode == 2
    assert versions(tmp_path) == ["12.1.0"] * 5


def test_the_migration_of_a_release_needs_no_deletion_by_hand() -> None:
    """A Job cannot be changed: each release names its own, and GitOps replaces one of the same name."""
    job = read(BASE / "migration.yaml")
    [renaming] = read(RELEASE)["patches"]

    assert renaming["target"] == {"kind": "Job", "name": job["metadata"]["name"]}
    assert job["metadata"]["annotations"] == {
        "argocd.argoproj.io/hook": "Sync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "kustomize.toolkit.fluxcd.io/force": "enabled",
    }
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_the_charts_values_are_valid_settings_and_complete_in_its_schema() -> None:
    values, schema = (
        read(CHART / "values.yaml"),
        json.loads((CHART / "values.schema.json").read_text("utf-8")),
    )
    example = read(CHART.parent / "example-values.yaml")

    jsonschema.validate(values, schema)
    jsonschema.validate(values | {"settings": values["settings"] | example.pop("settings")}, schema)
    jsonschema.validate(example, schema)
    for name, part in schema["properties"].items():
        assert name == "global" or set(part.get("properties", values[name])) == set(values[name]), name
    assert {name: str(value) for name, value in values["settings"].items()} == LITERALS


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": {"replicas": 3}},
        {"worker": {"replica": 3}},
        {"settings": {"DATABASE_URL": "postgresql://"}},
        {"settings": {"PATTERN_METRICS_DATABASE_URL": "postgresql://"}},
        {"settings": {"KAFKA_SASL_PASSWORD": "a"}},
        {"settings": {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=a"}},
        {"gateway": {"settings": {"PATTERN_METRICS_KAFKA_SASL_PASSWORD": "a"}}},
        {"monitoring": {"runbookUrl": "docs/how-to/runbook.md"}},
    ],
)
def test_the_chart_refuses_a_value_that_it_would_ignore_or_show(wrong: Manifest) -> None:
    values, schema = (
        read(CHART / "values.yaml"),
        json.loads((CHART / "values.schema.json").read_text("utf-8")),
    )
    [(name, part)] = wrong.items()

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {name: values.get(name, {}) | part}, schema)


def test_a_stop_has_its_time_everywhere() -> None:
    unit = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line and line[0] != "#")

    assert PODS["worker"]["terminationGracePeriodSeconds"] > STOP_SECONDS
    assert int(unit["TimeoutStopSec"]) > STOP_SECONDS
    parse(unit["ExecStart"].split()[1:])
    gateway = PODS["gateway"]["terminationGracePeriodSeconds"]
    assert gateway > GATEWAY_STOP_SECONDS


@pytest.mark.parametrize("name", ["ci", "nightly", "release"])
def test_a_workflow_has_actions_of_a_pinned_version_and_may_only_read_by_default(name: str) -> None:
    workflow = read(ROOT / f".github/workflows/{name}.yml")
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", ())]

    assert all(re.search(r"@v\d+\.\d+\.\d+$", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read"}


def test_a_release_is_published_only_after_ci_has_passed() -> None:
    jobs = read(ROOT / ".github/workflows/release.yml")["jobs"]

    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "test": None,
        "build": ["test"],
        "image": ["test"],
        "publish": ["build", "image"],
    }


def test_ci_calls_make_alone() -> None:
    workflow = read(ROOT / ".github/workflows/ci.yml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    targets = [step["run"].split()[1] for step in steps if step.get("run", "").startswith("make ")]

    assert {"test", "check-deploy"} <= set(targets)
    assert all(re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE) for target in targets)


def test_the_image_is_built_from_each_folder_of_the_wheel_and_for_the_worker() -> None:
    folders = {
        "pattern_metrics",
        *(link.name for link in (ROOT / "pattern_metrics").iterdir() if link.is_symlink()),
    }
    [copied] = re.findall(r"^cp -r (.*) \"\$scratch/build\"$", CHECK, flags=re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    build = DOCKERFILE.rpartition("\nFROM ")[0]

    assert len(folders) == 5
    assert folders == set(re.findall(r"^COPY (\w+) \1$", build, flags=re.MULTILINE))
    assert folders <= set(copied.split())
    assert {f"!{folder}" for folder in folders} <= set(ignored)
    assert "--find-links /wheels 'pattern-metrics[worker]'" in build
