"""`make alerts`: prints the rules as an object of the Prometheus operator."""

import sys
from pathlib import Path
from textwrap import indent

RULES = Path(__file__).parents[1] / "prometheus/rules.yml"

HEAD = """\
# Written by `make alerts` from deploy/prometheus/rules.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pattern-metrics
  labels:
    app.kubernetes.io/name: pattern-metrics
spec:
"""

sys.stdout.write(HEAD + indent(RULES.read_text(encoding="utf-8"), "  "))
