#!/usr/bin/env bash
# Runs a command with a PostgreSQL of its own, on loopback and a free port, which ends with the command:
#   scripts/postgres.sh COMMAND…
# The command finds it in COHORT_TEST_POSTGRES. Without a PostgreSQL to be had, the command runs without it.
set -uo pipefail

binaries() {
  local found
  found=$(command -v initdb 2>/dev/null) && { dirname "$found"; return; }
  # shellcheck disable=SC2012
  ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1
}

. "$(dirname "$0")/lib.sh"
bin=$(binaries)
if [ -z "$bin" ]; then
  install postgresql
  bin=$(binaries)
fi
if [ -z "$bin" ]; then
  echo "tests on PostgreSQL (there is none, and it could not be installed)" >>"${COHORT_SKIPPED:-/dev/null}"
  echo "SKIPPED: tests on PostgreSQL (there is none, and it could not be installed)"
  exec "$@"
fi

folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
  as=(runuser -u postgres --)
  chown postgres "$folder"
fi
stop() {
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1)
  rm -rf "$folder"
}
trap stop EXIT
printf '%s' "$password" >"$folder/password"
chmod 644 "$folder/password"
(cd / && "${as[@]}" "$bin/initdb" -D "$folder/data" -U cohort --pwfile="$folder/password" -A scram-sha-256 -E UTF8 --locale=C >/dev/null) &&
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off" start >/dev/null) || {
  echo "FAILED: PostgreSQL does not start" >&2
  cat "$folder/log" >&2 2>/dev/null
  exit 1
}
export COHORT_TEST_POSTGRES="postgres://cohort:$password@127.0.0.1:$port/postgres"
"$@"
