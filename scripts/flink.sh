#!/usr/bin/env bash
# Runs jobs that `cohort export flink-sql` writes on a real Flink, in one process here, and compares what they tell with `cohort replay`
# (scripts/flink/check.py):
#   scripts/flink.sh [SEED…]     random segments of these seeds, and those of queries/
#   scripts/flink.sh run FILE…   runs files of Flink SQL; only that
# For tests that run jobs of their own, scripts/flink.sh env COMMAND… runs a command that finds in COHORT_TEST_FLINK the program which runs files
# of Flink SQL. Without a Flink to be had, the command runs without it.
# COHORT is the binary, target/release/cohort by default.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cohort=${COHORT:-${CARGO_TARGET_DIR:-$here/../target}/release/cohort}
tools=${COHORT_TOOLS:-$HOME/.cache/cohort/tools}
version=$(sed -n 's:.*<flink.version>\(.*\)</flink.version>.*:\1:p' "$here/flink/pom.xml")
# By what it is made of, so that it is made anew when that changes.
home=$tools/flink-$version-$(cat "$here"/flink/pom.xml "$here"/flink/src/main/java/cohort/flink/*.java | cksum | cut -d ' ' -f 1)
unset COHORT_TEST_FLINK

skip() { # reason
  echo "exported jobs on a real Flink ($1)" >>"${COHORT_SKIPPED:-/dev/null}"
  echo "SKIPPED: exported jobs on a real Flink ($1)"
  if [ "${arguments[0]:-}" = env ]; then exec "${arguments[@]:1}"; fi
  exit 0
}
arguments=("$@")

. "$(dirname "$0")/lib.sh"
java=$(find_java java javac)
if [ -z "$java" ]; then
  install openjdk-17-jdk-headless || install default-jdk-headless
  java=$(find_java java javac)
  [ -n "$java" ] || skip "there is no Java 17 that compiles, and it could not be installed"
fi
if [ ! -d "$home" ]; then
  command -v mvn >/dev/null 2>&1 || install maven
  command -v mvn >/dev/null 2>&1 || skip "there is no Maven, and it could not be installed"
  mkdir -p "$tools" || exit 1
  lock "$tools/.flink-$version.lock"
  if [ ! -d "$home" ]; then
    echo "── fetching Flink $version into $home" >&2
    copy=$(mktemp -d "$tools/.flink-$version.XXXXXX") || exit 1
    trap 'rm -rf "$copy"' EXIT
    goals=(compile dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$copy/lib")
    mvn -q -B -f "$here/flink/pom.xml" -Dhome="$copy" "${goals[@]}" </dev/null >"$copy/mvn" 2>&1 && chmod 755 "$copy" && mv -T "$copy" "$home" 2>/dev/null
    if [ ! -d "$home" ]; then
      grep -m 3 ERROR "$copy/mvn" >&2
      skip "Flink $version could not be fetched or compiled with Maven"
    fi
    trap - EXIT
  fi
  exec 9>&-
fi

options=(-Xmx2g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dorg.slf4j.simpleLogger.defaultLogLevel=error)
for package in java.lang java.util java.util.concurrent java.net java.nio java.time; do options+=("--add-opens=java.base/$package=ALL-UNNAMED"); done
run=("$java" "${options[@]}" -cp "$home/classes:$home/lib/*" cohort.flink.RunSql)

case ${1:-} in
  run)
    exec "${run[@]}" "${@:2}"
    ;;
  env)
    export COHORT_TEST_FLINK="$here/flink.sh"
    exec "${@:2}"
    ;;
  *)
    [ -x "$cohort" ] || {
      echo "there is no $cohort; build it, or name it in COHORT" >&2
      exit 2
    }
    seeds=("$@")
    [ ${#seeds[@]} -gt 0 ] || seeds=(1 2 3 4)
    exec python3 "$here/flink/check.py" "$cohort" "${run[@]}" -- "${seeds[@]}"
    ;;
esac
