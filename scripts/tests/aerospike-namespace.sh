#!/usr/bin/env bash
# Tests scripts/setup-aerospike-namespace.sh against a small server that answers as Aerospike does, well and badly.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
script=$PWD/setup-aerospike-namespace.sh
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT

# Each kind of server has a port of its own; the ports are written down in a file.
python3 - "$folder/ports" <<'PYTHON' &
import os, socketserver, struct, sys, threading

GOOD = {
    "namespaces": "test;segments",
    "build": "8.1.2.0",
    "statistics": {"cluster_size": "3", "cluster_integrity": "true", "uptime": "1000"},
    "segments": {
        "ns_cluster_size": "3", "effective_replication_factor": "2", "objects": "12345", "dead_partitions": "0",
        "unavailable_partitions": "0", "clock_skew_stop_writes": "false", "stop_writes": "false", "hwm_breached": "false",
        "data_total_bytes": str(4 << 30), "data_used_bytes": str(1 << 30), "data_used_pct": "25", "data_avail_pct": "70",
        "allow-ttl-without-nsup": "false", "default-ttl": "3600", "nsup-period": "120", "replication-factor": "2",
        "storage-engine": "memory", "storage-engine.data-size": str(4 << 30), "storage-engine.evict-used-pct": "0",
        "storage-engine.stop-writes-avail-pct": "5", "storage-engine.stop-writes-used-pct": "70",
    },
}
OLD = dict(GOOD, build="6.4.0.1", segments={
    "ns_cluster_size": "3", "effective_replication_factor": "2", "objects": "1", "stop_writes": "false",
    "hwm_breached": "false", "memory_used_bytes": str(1 << 30), "memory_free_pct": "75", "memory-size": str(4 << 30),
    "allow-ttl-without-nsup": "false", "default-ttl": "3600", "nsup-period": "120", "replication-factor": "2",
    "high-water-memory-pct": "0", "high-water-disk-pct": "0", "stop-writes-pct": "90", "storage-engine": "memory",
})

def like(base, statistics={}, **changes):
    return dict(base, statistics=dict(base["statistics"], **statistics),
                segments=dict(base["segments"], **{k.replace("__", "."): v for k, v in changes.items()}))

def named(base, changes):
    return dict(base, segments=dict(base["segments"], **changes))

KINDS = {
    "good": GOOD,
    "missing": dict(GOOD, namespaces="test;bar"),
    "no-nsup": named(GOOD, {"nsup-period": "0"}),
    "no-nsup-allowed": named(GOOD, {"nsup-period": "0", "allow-ttl-without-nsup": "true"}),
    "other-ttl": named(GOOD, {"default-ttl": "0"}),
    "stopped": named(GOOD, {"stop_writes": "true", "data_used_bytes": str(3 << 30), "data_avail_pct": "3"}),
    "one-copy": named(GOOD, {"replication-factor": "1", "effective_replication_factor": "1"}),
    "alone": dict(named(GOOD, {"effective_replication_factor": "1"}), statistics={"cluster_size": "1", "cluster_integrity": "true"}),
    "evicting": named(GOOD, {"hwm_breached": "true", "storage-engine.evict-used-pct": "20"}),
    "soon-evicting": named(GOOD, {"storage-engine.evict-used-pct": "26"}),
    "nearly-full": named(GOOD, {"data_used_bytes": str(int(2.6 * (1 << 30)))}),
    "fragmented": named(GOOD, {"data_avail_pct": "8"}),
    "lost-partitions": named(GOOD, {"unavailable_partitions": "7", "dead_partitions": "2"}),
    "split": dict(GOOD, statistics={"cluster_size": "3", "cluster_integrity": "false"}),
    "skewed": named(GOOD, {"clock_skew_stop_writes": "true"}),
    "old": OLD,
    "old-full": named(OLD, {"memory_used_bytes": str(int(3.9 * (1 << 30))), "memory_free_pct": "2", "stop_writes": "true"}),
    "secure": dict(GOOD, secure=True),
    "http": "HTTP/1.1 400 Bad Request\r\n\r\n",
    "hangs-up": "",
}
HASH = b"$2a$10$7EqJtq98hPqEX7fNZaFWoOqUH6KN8IKy3Yk5Kz..RHGKNAUCoP/LG"  # of "password"

def text(statistics):
    return ";".join("%s=%s" % kv for kv in statistics.items())

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        kind = self.server.kind
        if isinstance(kind, str):
            self.request.sendall(kind.encode())
            return
        trusted = "secure" not in kind
        while True:
            head = self.rfile.read(8)
            if len(head) < 8:
                return
            head = struct.unpack(">Q", head)[0]
            body = self.rfile.read(head & 0xFFFFFFFFFFFF)
            if head >> 48 == 2 << 8 | 2:
                assert body[2] == 20 and body[3] == 2, body
                at, fields = 16, {}
                while at < len(body):
                    n, field = struct.unpack_from(">IB", body, at)
                    fields[field] = body[at + 5:at + 4 + n]
                    at += 4 + n
                code = 60 if fields[0] != b"cohort" else 65 if fields[3] != HASH else 0
                trusted = code == 0
                self.reply(2, bytes((0, code)) + bytes(14))
                continue
            assert head >> 48 == 2 << 8 | 1, head
            out = ""
            for name in body.decode().split("\n")[:-1]:
                if not trusted:
                    value = "ERROR:80:not authenticated"
                elif name.startswith("namespace/"):
                    name_of = name.split("/")[1]
                    value = text(kind["segments"]) if name_of in kind["namespaces"].split(";") else "type=unknown"
                elif name == "statistics":
                    value = text(kind["statistics"])
                else:
                    value = kind[name]
                out += "%s\t%s\n" % (name, value)
            self.reply(1, out.encode())

    def reply(self, kind, body):
        self.wfile.write(struct.pack(">Q", 2 << 56 | kind << 48 | len(body)) + body)

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

lines = ""
for name, kind in KINDS.items():
    server = Server(("127.0.0.1", 0), Handler)
    server.kind = kind
    threading.Thread(target=server.serve_forever).start()
    lines += "%s %d\n" % (name, server.server_address[1])
with open(sys.argv[1] + ".new", "w") as f:
    f.write(lines)
os.rename(sys.argv[1] + ".new", sys.argv[1])
PYTHON
server=$!
for _ in $(seq 100); do
  [ -e "$folder/ports" ] && break
  sleep 0.05
done
[ -e "$folder/ports" ] || { echo "the server for the tests does not start"; exit 1; }

passed=0 failed=0
# The script is to be started with these arguments, end with this status, and print what matches each of the patterns.
expect() { # what, status, patterns…, -- arguments…
  local what=$1 status=$2 patterns=() got output pattern wrong=''
  shift 2
  while [ "$1" != -- ]; do
    patterns+=("$1")
    shift
  done
  shift
  output=$("$script" "$@" 2>&1)
  got=$?
  [ "$got" = "$status" ] || wrong="status $got, not $status"
  for pattern in "${patterns[@]}"; do
    if [[ $pattern == !* ]]; then
      grep -qE -- "${pattern#!}" <<<"$output" && wrong+="; there is: ${pattern#!}"
    else
      grep -qE -- "$pattern" <<<"$output" || wrong+="; there is no: $pattern"
    fi
  done
  if [ -z "$wrong" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s: %s\n%s\n' "$what" "$wrong" "$output"
  fi
}
port() { sed -n "s/^$1 //p" "$folder/ports"; }
on() { # kind of server, status, patterns…
  local kind=$1 status=$2
  shift 2
  expect "$kind" "$status" "$@" -- check "127.0.0.1:$(port "$kind")"
}

# Without asinfo, whether there is one here or not.
mkdir "$folder/bin"
for tool in awk bash cat chmod cp date dirname grep head id mktemp rm sed tail tr; do
  ln -s "$(command -v "$tool")" "$folder/bin/$tool"
done
# python3 may be a script that needs more than that.
ln -s "$(python3 -c 'import sys; print(sys.executable)')" "$folder/bin/python3"
whole_path=$PATH
export PATH=$folder/bin

on good 0 '^ok .*Aerospike 8\.1\.2\.0 at 127.0.0.1:[0-9]+, cluster of 3 nodes' '12345 records' 'removed every 120 s' \
  'default-ttl is 3600 s' '3\.0 GiB of 4\.0 GiB free .*25 % used' '^problems: 0, warnings: 0$'
on missing 1 '^PROBLEM .*no namespace segments; there are: test, bar$' '→ add it to aerospike.conf' '^problems: 1, warnings: 0$'
on no-nsup 1 '^PROBLEM .*nsup-period is 0: writes with a TTL' "set-config:context=namespace;id=segments;nsup-period=120" '^problems: 1,'
on no-nsup-allowed 0 '^WARNING .*nsup-period is 0: records expire, but stay' 'nsup-period=120' '^problems: 0, warnings: 1$'
on other-ttl 0 '^WARNING .*default-ttl is 0 s, not 3600 s' 'default-ttl=3600' '^problems: 0, warnings: 1$'
on stopped 1 '^PROBLEM .*stop_writes.*75 % of the storage is used, of at most 70 %; 3 % can be written, of at least 5 %' '^problems: 1, warnings: 0$'
on one-copy 0 '^WARNING .*replication-factor is 1' 'replication-factor=2' '^problems: 0, warnings: 1$'
on alone 0 'cluster of 1 node$' '^WARNING .*replication-factor is 2, but there are only 1 copy' '^problems: 0, warnings: 1$'
on evicting 1 '^PROBLEM .*evicts records before they expire' '^problems: 1, warnings: 0$'
on soon-evicting 0 '^WARNING .*25 % of the storage is used; from 26 % on' '^problems: 0, warnings: 1$'
on nearly-full 0 '^WARNING .*64 % used.*at 70 % writes stop' '^problems: 0, warnings: 1$'
on fragmented 0 '^WARNING .*only 8 % of the storage can be written' '^problems: 0, warnings: 1$'
on lost-partitions 1 '^PROBLEM .*9 partitions are dead or unavailable' '^problems: 1, warnings: 0$'
on split 0 '^WARNING .*do not agree' '^problems: 0, warnings: 1$'
on skewed 1 '^PROBLEM .*clocks' '^problems: 1, warnings: 0$'
on old 0 'Aerospike 6\.4' '3\.0 GiB of 4\.0 GiB free' '^problems: 0, warnings: 0$'
on old-full 1 '^PROBLEM .*stop_writes.*97 % of the storage is used, of at most 90 %' '^problems: 1, warnings: 0$'
on http 1 "^PROBLEM .*can't ask .*does not speak the protocol of Aerospike"
on hangs-up 1 "^PROBLEM .*can't ask .*(ended the connection|reset by peer)"
expect "nobody there" 1 "^PROBLEM .*can't ask 127.0.0.1:1: .*refused" '→ is the server up' -- check 127.0.0.1:1
expect "other namespace" 1 'no namespace users; there are: test, segments' -- check "127.0.0.1:$(port good)" --namespace users
expect "other TTL" 0 'default-ttl is 3600 s, not 1800 s' -- check "127.0.0.1:$(port good)" --ttl 30m
expect "same TTL" 0 'warnings: 0' -- check "127.0.0.1:$(port good)" --ttl 60m

# Logging in.
on secure 1 '^PROBLEM .*not authenticated' 'give a user'
secure=127.0.0.1:$(port secure)
export RIGHT=password WRONG=passwort
expect "login" 0 'problems: 0, warnings: 0' -- check "$secure" --user cohort --password-env RIGHT
expect "wrong password" 1 "login of cohort refused: wrong password" 'what .WRONG is' '!passwort' -- check "$secure" --user cohort --password-env WRONG
expect "wrong user" 1 "login of nobody refused: no such user" -- check "$secure" --user nobody --password-env RIGHT
expect "no such variable" 2 'the environment has no NONE_SUCH' -- check "$secure" --user cohort --password-env NONE_SUCH
expect "user without password" 2 'needs --password-env' -- check "$secure" --user cohort

# With an asinfo, of which only the options are the real one's.
cat >"$folder/bin/asinfo" <<'ASINFO'
#!/usr/bin/env bash
while [ $# -gt 0 ]; do
  case $1 in
    -v) name=$2 ;;
    -p) port=$2 ;;
    --config-file) grep -q '^password = "pass\\"word\\\\"$' "$2" || { echo "wrong password in $2"; exit 1; } ;;
  esac
  shift 2
done
case $name in
  build) [ "$port" = 3000 ] || { echo "Could not connect to node"; exit 1; }; echo 8.1.2.0 ;;
  namespaces) echo "test;segments" ;;
  statistics) echo "cluster_size=2;cluster_integrity=true" ;;
  namespace/segments) echo "objects=5;nsup-period=0;default-ttl=3600;replication-factor=2" ;;
esac
ASINFO
chmod +x "$folder/bin/asinfo"
expect "asinfo" 1 'at db:3000, cluster of 2 nodes' '^PROBLEM .*nsup-period is 0' '^problems: 1, warnings: 0$' -- check db
expect "asinfo that can't connect" 1 "can't ask db:3001: Could not connect to node" -- check db:3001
# shellcheck disable=SC1003
export QUOTED='pass"word\'
expect "asinfo with a password" 1 'at db:3000' '^problems: 1, warnings: 0$' -- check db --user cohort --password-env QUOTED
rm "$folder/bin/asinfo"
export PATH=$whole_path

# The configuration.
expect "memory" 0 '^namespace segments \{$' 'default-ttl 1h$' 'nsup-period 120$' 'replication-factor 2$' 'storage-engine memory' '^\s+data-size 4G$' \
  '^\}$' '!^\s+(file|filesize|memory-size) ' -- config
expect "file" 0 '^\s+default-ttl 30m$' 'storage-engine device' '^\s+file /data/s.dat$' '^\s+filesize 32G$' '!^\s+(data-size|memory-size) ' \
  -- config --storage file --file /data/s.dat --file-size 32G --ttl 30m
expect "file of another namespace" 0 '^namespace users \{$' '^\s+file /opt/aerospike/data/users.dat$' -- config --namespace users --storage file
for wrong in "--storage disk" "--memory-size 4X" "--memory-size 100M" "--ttl soon" "--nsup-period 0" "--replication-factor 0" \
  "--storage file --file-size 3T" "--storage file --file data.dat" "--namespace a;b" "--nonsense 1" "--ttl" "--user u" "extra"; do
  # shellcheck disable=SC2086
  expect "config $wrong" 2 'see --help' -- config $wrong
done
expect "check without a server" 2 'needs HOST' -- check
expect "check of a wrong port" 2 'no port' -- check db:70000
expect "nothing" 2 'config or check' --
expect "help" 0 'config \[options\]' 'check HOST' -- --help

# Its last line has no end, and a comment names the namespace.
file=$folder/aerospike.conf
printf '# namespace segments {\nnamespace test {\n\treplication-factor 2\n}' >"$file"
cp "$file" "$folder/before"
expect "write" 0 'is in .*aerospike.conf now' -- config --write "$file"
expect "write again" 0 '^Nothing to do' -- config --write "$file" --memory-size 8G
expect "write another" 0 'Namespace users' -- config --write "$file" --namespace users
expect "write to nothing" 1 'There is no file' -- config --write "$folder/none"
same() { # what, is, should be
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED: $1: $2, not $3"
  fi
}
same "namespaces in the file" "$(grep -E '^(namespace|})' "$file" | tr '\n' ' ')" "namespace test { } namespace segments { } namespace users { } "
same "braces" "$(tr -dc '{' <"$file" | wc -c)" "$(($(tr -dc '}' <"$file" | wc -c) + 1))"
first=$(find "$folder" -name 'aerospike.conf.*.bak' | sort | head -1)
same "the copy" "$(cksum <"$first")" "$(cksum <"$folder/before")"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
