#!/usr/bin/env bash
# Starts, stops and kills the broker of scripts/kafka.sh, which copies this beside the broker's settings:
#   control start|stop|kill|restart
# start returns when the broker takes requests; stop and kill, when its process is gone.
set -uo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
java='' classpath='' port='' options=()
# shellcheck disable=SC1091
. "$folder/settings"
pid=$(cat "$folder/pid" 2>/dev/null)

alive() {
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return
  # It may be dead with no one to bury it.
  [ ! -r "/proc/$pid/stat" ] || [[ "$(cat "/proc/$pid/stat" 2>/dev/null)" != *') Z '* ]]
}

gone() { # seconds
  for _ in $(seq $(($1 * 20))); do
    alive || return 0
    sleep 0.05
  done
  return 1
}

start() {
  alive && return
  echo "── start on port $port" >>"$folder/log"
  local before
  before=$(wc -l <"$folder/log")
  # Of what the caller has open it keeps nothing, and Ctrl-C does not reach it.
  "$java" "${options[@]}" -cp "$classpath" kafka.Kafka "$folder/server.properties" </dev/null >>"$folder/log" 2>&1 &
  pid=$!
  echo "$pid" >"$folder/pid"
  for _ in $(seq 1200); do
    tail -n "+$((before + 1))" "$folder/log" | grep -q 'Kafka Server started' && return
    alive || break
    sleep 0.05
  done
  echo "Kafka does not start" >&2
  tail -n "+$((before + 1))" "$folder/log" >&2
  return 1
}

stop() {
  alive || return 0
  kill "$pid"
  gone 30 || end
}

end() {
  alive || return 0
  kill -KILL "$pid"
  gone 10
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  kill) end ;;
  restart) stop && start ;;
  *)
    echo "usage: $0 start|stop|kill|restart" >&2
    exit 2
    ;;
esac
