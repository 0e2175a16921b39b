#!/usr/bin/env bash
# Whether the service answers 200: cohort-health [PATH [HOST [PORT]]], by default /healthz of this container.
# Without curl, of which the image has none; over HTTP only.
set -euo pipefail
path=${1:-/healthz} host=${2:-127.0.0.1} port=${3:-8080}
exec 3<>"/dev/tcp/$host/$port"
printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$path" "$host" >&3
IFS= read -r -t 4 status <&3
[[ $status == 'HTTP/1.1 200'* ]] || { echo "$path: ${status%$'\r'}" >&2 && exit 1; }
