"""`make alerts`: writes the copies of the alerts for the Prometheus operator and for the Helm chart."""

import re
from pathlib import Path
from textwrap import indent

DEPLOY = Path(__file__).parent

MARK = "# Written by `make alerts` from deploy/prometheus/rules.yml.\n"

OBJECT = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pattern-metrics
  labels:
    app.kubernetes.io/name: pattern-metrics
spec:
"""

ADDITION = """\
- op: add
  path: /spec/groups/0/rules/{number}/annotations/runbook_url
  value: "{anchor}"
"""


def copies(rules: str) -> dict[str, str]:
    """Return the text of each file that is written from the rules, by its name in `deploy`."""
    anchors = re.findall(r"^ +runbook: [^#\n]+(#\w+)$", rules, flags=re.MULTILINE)
    additions = [ADDITION.format(number=number, anchor=anchor) for number, anchor in enumerate(anchors)]
    return {
        "kubernetes/monitoring/prometheus_rule.yaml": MARK + OBJECT + indent(rules, "  "),
        "kubernetes/runbook_url/patch.yaml": MARK + "".join(additions),
        "helm/pattern-metrics/files/rules.yml": MARK + rules,
    }


if __name__ == "__main__":
    for name, text in copies((DEPLOY / "prometheus/rules.yml").read_text(encoding="utf-8")).items():
        (DEPLOY / name).write_text(text, encoding="utf-8")
