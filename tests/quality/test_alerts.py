"""Dashboard and alerts use only exposed metrics, and each alert is tested and explained."""

import json
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pattern_metrics.consumer.telemetry.metric_table import GATEWAY_TABLE, TABLE, Metric

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/pattern-metrics.json").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs/how-to/runbook.md").read_text(encoding="utf-8")

Document = dict[str, Any]

RULES: list[Document] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"][0][
    "rules"
]
CASES: list[Document] = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text(encoding="utf-8"))["tests"]
ALERTS = {rule["alert"]: rule for rule in RULES}

OF_THE_SCRAPE = {"job", "instance", "namespace"}

EXPOSED: dict[str, tuple[Metric, set[str]]] = {
    f"{metric.name}{suffix}": (metric, {*metric.labels, *more, *OF_THE_SCRAPE})
    for metric in (*TABLE, *GATEWAY_TABLE)
    for suffix, more in (
        {"_bucket": ("le",), "_sum": (), "_count": ()} if metric.kind == "histogram" else {"": ()}
    ).items()
}
"""The metric and all possible labels of each name that a scraper sees."""

SELECTOR = re.compile(r"(?P<name>\bpattern_metrics_\w+)(?:\{(?P<matchers>[^}]*)\})?")
MATCHER = re.compile(r'(?P<label>\w+)(?P<operator>=~|!~|!=|=)"(?P<value>[^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z]\w*)\s*\}\}")


def problems(expression: str, texts: str = "") -> list[str]:
    """Return the names in an expression, or in a text about its result, that do not exist."""
    return list(_problems(expression, texts))


def _problems(expression: str, texts: str) -> Iterator[str]:
    known = set[str]()
    selectors = list(SELECTOR.finditer(expression))
    if not selectors:
        yield f"no metric of ours in {expression}"
    for selector in selectors:
        if selector["name"] not in EXPOSED:
            yield f"metric {selector['name']}"
            continue
        metric, labels = EXPOSED[selector["name"]]
        known |= labels
        for matcher in MATCHER.finditer(selector["matchers"] or ""):
            if matcher["label"] not in labels:
                yield f"label {matcher['label']} of {metric.name}"
            values = metric.labels.get(matcher["label"], ())
            if values and matcher["operator"] in {"=", "!="} and matcher["value"] not in values:
                yield f"value {matcher['value']} of {matcher['label']}"
    grouped = [label for labels in GROUPING.findall(expression) for label in labels.split(", ")]
    yield from (f"label {label}" for label in [*grouped, *SHOWN.findall(texts)] if label not in known)


def targets() -> Iterator[tuple[str, str]]:
    """Yield expression and legend of each target of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target.get("legendFormat", "")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_only_what_the_code_exposes(name: str) -> None:
    assert problems(ALERTS[name]["expr"], ALERTS[name]["annotations"]["summary"]) == []


def test_the_dashboard_names_only_what_the_code_exposes() -> None:
    found = [problem for expression, legend in targets() for problem in problems(expression, legend)]
    [variable] = DASHBOARD["templating"]["list"]

    assert found == []
    assert set(re.findall(r"\$(\w+)", json.dumps(DASHBOARD))) == {
        variable["name"],
        "__rate_interval",
        "__all",
    }
    assert re.search(r"label_values\((\w+), instance\)", variable["query"]["query"])[1] in EXPOSED  # type: ignore[index]


@pytest.mark.parametrize(
    ("expression", "legend", "problem"),
    [
        ("rate(pattern_metrics_records[5m])", "", "metric pattern_metrics_records"),
        ("pattern_metrics_write_seconds", "", "metric pattern_metrics_write_seconds"),
        ('pattern_metrics_ready{topic="t"}', "", "label topic of pattern_metrics_ready"),
        ('pattern_metrics_not_ready{component="kafak"}', "", "value kafak of component"),
        ("sum by (reasons) (pattern_metrics_dead_letters_total)", "", "label reasons"),
        ("pattern_metrics_consumer_lag", "{{topics}}", "label topics"),
        ("up == 0", "", "no metric of ours in up == 0"),
    ],
)
def test_a_name_that_the_code_has_not_would_be_noticed(expression: str, legend: str, problem: str) -> None:
    assert problems(expression, legend) == [problem]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_where_it_is_raised_and_where_it_is_not(name: str) -> None:
    expected = [
        bool(case["exp_alerts"])
        for test in CASES
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]

    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_what_to_do_about_it(name: str) -> None:
    heading = f"### {name}\n"
    section = RUNBOOK.partition(heading)[2].partition("\n#")[0]

    assert ALERTS[name]["annotations"]["runbook"] == f"docs/how-to/runbook.md#{name.lower()}"
    assert ALERTS[name]["labels"]["severity"] in {"critical", "warning"}
    assert len(section.split()) > 30


def test_the_prometheus_operator_and_helm_have_the_same_alerts() -> None:
    rules = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
    written: dict[str, str] = runpy.run_path(str(ROOT / "deploy/alerts.py"))["copies"](rules)
    [operators, additions, helms] = [yaml.safe_load(text) for text in written.values()]

    for name, text in written.items():
        assert (ROOT / "deploy" / name).read_text(encoding="utf-8") == text, "make alerts"
    assert operators["spec"]["groups"][0]["rules"] == helms["groups"][0]["rules"] == RULES
    assert [addition["value"] for addition in additions] == [f"#{name.lower()}" for name in ALERTS]


def test_a_documented_command_gives_each_alert_the_address_of_the_runbook() -> None:
    guide = (ROOT / "docs/how-to/monitor.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^(sed .*) >rules.yml$", guide, flags=re.MULTILINE)
    shown = subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    rules = yaml.safe_load(shown)["groups"][0]["rules"]
    assert {rule["alert"]: rule["annotations"].pop("runbook_url") for rule in rules} == {
        name: f"https://git.example.com/pattern-metrics/blob/main/docs/how-to/runbook.md#{name.lower()}"
        for name in ALERTS
    }
    assert rules == RULES


def test_each_alert_that_the_runbook_explains_exists() -> None:
    assert re.findall(r"^### (PatternMetrics\w+)$", RUNBOOK, flags=re.MULTILINE) == list(ALERTS)


def test_the_dashboard_is_provisioned_from_where_compose_puts_it() -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in services["grafana"]["volumes"])
    [provider] = yaml.safe_load((provisioning / "dashboards/files.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    uids = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}

    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"] == str(Path(home).parent)
    assert (ROOT / "deploy/grafana/dashboards" / Path(home).name).is_file()
    assert source["url"] == "http://prometheus:9090"
    assert uids == {source["uid"]}
