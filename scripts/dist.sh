#!/usr/bin/env bash
# Packs Cohort for machines like this one, into target/dist-packages (or --output): a tar.gz with the binary, shell
# completions, the systemd unit, dashboard and alerts, and its SHA-256 beside it.
#   scripts/dist.sh                  builds the binary first (cargo profile dist: stripped, thin LTO)
#   scripts/dist.sh --binary FILE    packs this binary instead, stripped
# The binary is linked to glibc and zlib, all else is within; it runs where glibc is as new as here, which is said at
# the end. So build on the oldest system that is to run it. There is no build for musl: none was ever tried.
set -euo pipefail
cd "$(dirname "$0")/.."

misuse() {
  echo "dist.sh: $1 (see its first lines)" >&2
  exit 2
}

binary='' output=${CARGO_TARGET_DIR:-target}/dist-packages
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || misuse "$1 needs a value"
  case $1 in
    --binary) binary=$2 ;;
    --output) output=$2 ;;
    *) misuse "what is $1?" ;;
  esac
  shift 2
done

for tool in tar gzip sha256sum strip; do
  command -v "$tool" >/dev/null || { echo "dist.sh: there is no $tool" >&2 && exit 1; }
done

if [ -z "$binary" ]; then
  scripts/ui.sh build
  [ -e server/ui/embedded/dist/index.html ] || echo "WARNING: without the web UI" >&2
  cargo build --locked --profile dist --package cohort --bin cohort
  binary=${CARGO_TARGET_DIR:-target}/dist/cohort
fi
[ -x "$binary" ] || { echo "dist.sh: there is no program $binary" >&2 && exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
strip -o "$folder/cohort" "$binary"
chmod 755 "$folder/cohort"
read -r _ version <<<"$("$folder/cohort" --version)"
target=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p')
name=cohort-$version-${target:-$(uname -m)-unknown-linux-gnu}
tree=$folder/$name
mkdir -p "$tree/completions" "$tree/systemd" "$tree/prometheus" "$tree/grafana" "$output"
mv "$folder/cohort" "$tree/"
cp LICENSE README.md "$tree/"
cp deploy/systemd/* "$tree/systemd/"
cp deploy/prometheus/alerts.yml "$tree/prometheus/"
cp deploy/grafana/cohort.json "$tree/grafana/"
"$tree/cohort" completions bash >"$tree/completions/cohort.bash"
"$tree/cohort" completions zsh >"$tree/completions/_cohort"
"$tree/cohort" completions fish >"$tree/completions/cohort.fish"
chmod -R u=rwX,go=rX "$tree"

# The same input gives the same archive.
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$folder" -cf - "$name" | gzip -9n >"$output/$name.tar.gz"
(cd "$output" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")

# The newest version of glibc that a symbol asks for.
glibc='an unknown version (no objdump)'
if command -v objdump >/dev/null; then
  glibc=$(objdump -T "$tree/cohort" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
fi
echo "$output/$name.tar.gz ($(du -h "$output/$name.tar.gz" | cut -f1)), needs ${glibc/_/ } and zlib"
