#!/usr/bin/env bash
# Packages the crates as they would be published, without building them anew, and checks what is in them:
# nothing but sources and what these take in, none larger than it should be. The web UI is in it as scripts/ui.sh built
# it last, if it did. scripts/package.sh
set -euo pipefail
cd "$(dirname "$0")/.."
crates=(cohort-compiler cohort-engine cohort-connectors cohort)
flags=()
for crate in "${crates[@]}"; do flags+=(--package "$crate"); done
cargo package --locked --quiet --no-verify --allow-dirty "${flags[@]}"
folder=${CARGO_TARGET_DIR:-target}/package
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
for crate in "${crates[@]}"; do
  package=$folder/$crate-$version.crate
  files=$(tar -tzf "$package")
  bytes=$(wc -c <"$package")
  echo "$crate: $(wc -l <<<"$files") files, $((bytes / 1024)) KiB"
  if grep -E "/(tests|target|node_modules|\.git)/" <<<"$files"; then
    echo "$package holds what it should not"
    exit 1
  fi
  for needed in Cargo.toml LICENSE README.md src/; do
    grep -q "^$crate-$version/$needed" <<<"$files" || { echo "$package lacks $needed"; exit 1; }
  done
  [ "$bytes" -lt $((4 * 1024 * 1024)) ] || { echo "$package is larger than 4 MiB"; exit 1; }
done
