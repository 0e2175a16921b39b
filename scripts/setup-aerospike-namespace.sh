#!/usr/bin/env bash
# Sets up and checks the Aerospike namespace that Cohort keeps its results in. See --help.
set -euo pipefail

usage() {
  cat <<'HELP'
Sets up and checks the Aerospike namespace that Cohort keeps its results in.

setup-aerospike-namespace.sh config [options]
    Prints the namespace for aerospike.conf of Aerospike 7 and 8.
    --namespace NAME           segments
    --storage memory|file      memory
    --memory-size SIZE         4G; of --storage memory
    --file PATH                /opt/aerospike/data/NAME.dat; of --storage file
    --file-size SIZE           16G; of --storage file
    --ttl TIME                 1h; of records that are written without one
    --nsup-period TIME         120; how often expired records are removed, in seconds
    --replication-factor N     2
    --write FILE               adds it to this configuration file instead, unless the namespace is there already;
                               a copy of the file as it was stays beside it

setup-aerospike-namespace.sh check HOST[:PORT] [options]
    Says what is wrong with the namespace on a running server, and how to mend it. Changes nothing.
    --namespace NAME           segments
    --ttl TIME                 1h; the default TTL that is wanted
    --user USER                where the server asks for one
    --password-env VARIABLE    environment variable that has the user's password
    Uses asinfo where it is installed (with its own configuration, as for TLS), or else python3.

SIZE is a number with K, M, G or T; TIME a number with s, m, h or d, or of seconds.
Exit status: 0 all is well, though there may be warnings; 1 there are problems; 2 the command line is wrong.
HELP
}

misuse() {
  echo "setup-aerospike-namespace.sh: $1 (see --help)" >&2
  exit 2
}

# Sizes in bytes and times in seconds; fails on anything else.
bytes() {
  [[ $1 =~ ^([0-9]{1,12})([KMGT]?)$ ]] || return 1
  local factor=1
  case ${BASH_REMATCH[2]} in
    K) factor=$((1 << 10)) ;;
    M) factor=$((1 << 20)) ;;
    G) factor=$((1 << 30)) ;;
    T) factor=$((1 << 40)) ;;
  esac
  echo $((10#${BASH_REMATCH[1]} * factor))
}
seconds() {
  [[ $1 =~ ^([0-9]{1,9})([smhd]?)$ ]] || return 1
  local factor=1
  case ${BASH_REMATCH[2]} in
    m) factor=60 ;;
    h) factor=3600 ;;
    d) factor=86400 ;;
  esac
  echo $((10#${BASH_REMATCH[1]} * factor))
}

# What the options say.
namespace=segments storage=memory memory_size=4G file='' file_size=16G ttl=1h nsup_period=120 replication_factor=2
write='' user='' password_env='' server=''

options() { # names of the options that there are, -- the command line
  local known=" "
  while [ "$1" != -- ]; do
    known+="$1 "
    shift
  done
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --*)
        [[ $known == *" $1 "* ]] || misuse "there is no option $1 here"
        [ $# -ge 2 ] || misuse "$1 needs a value"
        local name=${1#--}
        printf -v "${name//-/_}" %s "$2"
        shift 2
        ;;
      *)
        [[ $known == *" server "* && -z $server ]] || misuse "what is $1?"
        server=$1
        shift
        ;;
    esac
  done
  [[ $namespace =~ ^[A-Za-z0-9_-]{1,31}$ ]] || misuse "--namespace $namespace is no name of a namespace"
  seconds "$ttl" >/dev/null || misuse "--ttl $ttl is no time"
}

stanza() {
  cat <<STANZA
# Results of Cohort: who is in which segment. On every node of the cluster; a node takes up a new namespace when it starts.
namespace $namespace {
	replication-factor $replication_factor

	# For records that are written without a TTL; Cohort gives one with each write.
	default-ttl $ttl
	# How often expired records are removed, in seconds. Without it the server refuses writes with a TTL.
	nsup-period $nsup_period

STANZA
  if [ "$storage" = memory ]; then
    cat <<STANZA
	# Up to Aerospike 6 instead of the block: memory-size $memory_size, and storage-engine memory without one.
	storage-engine memory {
		# Writes stop at 70 % of it (stop-writes-used-pct). The index is extra, 64 bytes a record.
		data-size $memory_size

		# To find the data again after a restart, these two lines instead of data-size:
		# file /opt/aerospike/data/$namespace.dat
		# filesize $memory_size
	}
STANZA
  else
    cat <<STANZA
	# Up to Aerospike 6 there is a memory-size here too, for the index: 64 bytes a record.
	storage-engine device {
		# Its folder must be there, and be the server's. Writes stop at 70 % of the size (stop-writes-used-pct).
		file $file
		filesize $file_size
	}
STANZA
  fi
  echo "}"
}

config() {
  options --namespace --storage --memory-size --file --file-size --ttl --nsup-period --replication-factor --write -- "$@"
  local size ttl_seconds period
  [ -n "$file" ] || file=/opt/aerospike/data/$namespace.dat
  case $storage in
    memory)
      size=$(bytes "$memory_size") || misuse "--memory-size $memory_size is no size"
      [ "$size" -ge $((512 << 20)) ] || misuse "--memory-size must be 512M or more"
      ;;
    file)
      size=$(bytes "$file_size") || misuse "--file-size $file_size is no size"
      { [ "$size" -ge $((128 << 20)) ] && [ "$size" -le $((2 << 40)) ]; } || misuse "--file-size must be from 128M to 2T"
      [[ $file == /* && $file != *[[:space:]]* ]] || misuse "--file must be an absolute path without spaces"
      ;;
    *) misuse "--storage is memory or file, not $storage" ;;
  esac
  [[ $replication_factor =~ ^[1-9][0-9]{0,2}$ ]] || misuse "--replication-factor $replication_factor is no number of copies"
  period=$(seconds "$nsup_period") || misuse "--nsup-period $nsup_period is no time"
  ttl_seconds=$(seconds "$ttl")
  [ "$ttl_seconds" -le 315360000 ] || misuse "--ttl must be 10 years or less"
  [ "$period" -gt 0 ] || misuse "--nsup-period must be more than 0: records expire"

  if [ -z "$write" ]; then
    stanza
    return
  fi
  if [ ! -f "$write" ]; then
    echo "There is no file $write." >&2
    exit 1
  fi
  if grep -qE "^[[:space:]]*namespace[[:space:]]+${namespace}[[:space:]]*([{#]|\$)" "$write"; then
    echo "Nothing to do: namespace $namespace is in $write already."
    return
  fi
  if [ ! -w "$write" ]; then
    echo "$write can't be written by $(id -un)." >&2
    exit 1
  fi
  local backup text gap=$'\n'
  backup=$write.$(date +%Y%m%d-%H%M%S).bak
  [ ! -e "$backup" ] || backup=$backup.$$
  cp -p "$write" "$backup"
  text=$(stanza)
  # The last line may have no end.
  [ -z "$(tail -c 1 "$write")" ] || gap=$'\n\n'
  printf '%s%s\n' "$gap" "$text" >>"$write"
  echo "Namespace $namespace is in $write now; the file as it was is $backup."
  echo "Do so on every node, and restart the server on one after the other."
}

# Values of the info protocol: the names as arguments, a line "name<tab>value" for each. Says on the error output why not.
ask_with_asinfo() { # host, port, names…
  local host=$1 port=$2 name value arguments=()
  shift 2
  if [ -n "$user" ]; then
    # A file, for a password on a command line is for all to see.
    local quoted=${!password_env//\\/\\\\}
    printf '[cluster]\nuser = "%s"\npassword = "%s"\n' "$user" "${quoted//\"/\\\"}" >"$scratch/asinfo.conf"
    arguments=(--config-file "$scratch/asinfo.conf")
  fi
  for name in "$@"; do
    if ! value=$(asinfo "${arguments[@]+"${arguments[@]}"}" -h "$host" -p "$port" --timeout 5 -v "$name" </dev/null); then
      [ -z "$value" ] || echo "$value" >&2
      return 1
    fi
    printf '%s\t%s\n' "$name" "$value"
  done
}

ask_with_python() { # host, port, names…
  # shellcheck disable=SC2016
  AEROSPIKE_USER=$user AEROSPIKE_PASSWORD=${password_env:+${!password_env}} python3 -c '
import ctypes, ctypes.util, os, socket, struct, sys

host, port, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
user, password = os.environ["AEROSPIKE_USER"], os.environ["AEROSPIKE_PASSWORD"]

def send(s, kind, body):
    s.sendall(struct.pack(">Q", 2 << 56 | kind << 48 | len(body)) + body)

def receive(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise OSError("the server ended the connection; does it want TLS? Then install asinfo and configure it")
        data += part
    return data

def message(s, kind):
    head = struct.unpack(">Q", receive(s, 8))[0]
    if head >> 48 != 2 << 8 | kind or head & 0xFFFFFFFFFFFF > 1 << 24:
        raise OSError("what answers does not speak the protocol of Aerospike")
    return receive(s, head & 0xFFFFFFFFFFFF)

def login(s):
    # The hash that servers keep: bcrypt with a salt that is the same for all.
    path = ctypes.util.find_library("crypt")
    if not path:
        raise OSError("to log in, install asinfo: this system has no libcrypt")
    crypt = ctypes.CDLL(path).crypt
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password.encode(), b"$2a$10$7EqJtq98hPqEX7fNZaFWoO")
    if not hashed or not hashed.startswith(b"$2a$"):
        raise OSError("to log in, install asinfo: libcrypt of this system has no bcrypt")
    fields = b"".join(struct.pack(">IB", len(v) + 1, i) + v for i, v in ((0, user.encode()), (3, hashed)))
    send(s, 2, bytes((0, 0, 20, 2)) + bytes(12) + fields)
    code = message(s, 2)[1]
    if code not in (0, 51, 52):  # the latter two: there is no security
        known = {60: "no such user", 62: "wrong password", 61: "no such user", 63: "the password has expired",
                 65: "wrong password", 82: "this address may not log in"}
        raise OSError("login of %s refused: %s" % (user, known.get(code, "code %d" % code)))

try:
    with socket.create_connection((host, port), 5) as s:
        s.settimeout(5)
        if user:
            login(s)
        send(s, 1, "".join(n + "\n" for n in names).encode())
        sys.stdout.write(message(s, 1).decode(errors="replace"))
except (OSError, struct.error, IndexError) as e:
    sys.exit(getattr(e, "strerror", None) or str(e) or type(e).__name__)
' "$@"
}

problems=0 warnings=0
ok() { echo "ok       $1"; }
warning() { # what, how to mend it
  warnings=$((warnings + 1))
  echo "WARNING  $1"
  [ $# -lt 2 ] || echo "         → $2"
}
problem() { # what, how to mend it
  problems=$((problems + 1))
  echo "PROBLEM  $1"
  [ $# -lt 2 ] || echo "         → $2"
}
finish() {
  echo "problems: $problems, warnings: $warnings"
  [ "$problems" = 0 ] || exit 1
  exit 0
}

answer() { # name
  awk -F '\t' -v name="$1" '$1 == name { print $2; exit }' "$scratch/answers"
}
# A statistic or setting, nothing if the server does not know it.
value() { # name
  awk -v RS=';' -v key="$1=" '{ sub(/\n$/, "") } index($0, key) == 1 { print substr($0, length(key) + 1); exit }' "$scratch/stats"
}
number() { # name
  local found
  found=$(value "$1")
  if [[ $found =~ ^[0-9]{1,18}$ ]]; then echo "$found"; fi
}
size() { # bytes
  awk -v b="$1" 'BEGIN { split("B KiB MiB GiB TiB", u); i = 1; while (b >= 1024 && i < 5) { b /= 1024; i++ } printf i == 1 ? "%d %s" : "%.1f %s", b, u[i] }'
}

check() {
  options --namespace --ttl --user --password-env server -- "$@"
  [ -n "$server" ] || misuse "check needs HOST or HOST:PORT"
  [ -z "$user" ] || [ -n "$password_env" ] || misuse "--user needs --password-env"
  [ -z "$password_env" ] || [ -n "$user" ] || misuse "--password-env needs --user"
  if [ -n "$password_env" ]; then
    [[ $password_env =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || misuse "--password-env $password_env is no name of a variable"
    [ -n "${!password_env+set}" ] || misuse "the environment has no $password_env"
  fi
  local host port=3000
  if [[ $server =~ ^\[([^]]+)\](:([0-9]+))?$ ]]; then
    host=${BASH_REMATCH[1]} port=${BASH_REMATCH[3]:-3000}
  elif [[ $server =~ ^([^:]+)(:([0-9]+))?$ ]]; then
    host=${BASH_REMATCH[1]} port=${BASH_REMATCH[3]:-3000}
  else
    misuse "$server is not HOST or HOST:PORT"
  fi
  { [ "${#port}" -le 5 ] && [ "$((10#$port))" -ge 1 ] && [ "$((10#$port))" -le 65535 ]; } || misuse "$port is no port"

  scratch=$(umask 077 && mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  local ask=ask_with_asinfo
  if ! command -v asinfo >/dev/null 2>&1; then
    ask=ask_with_python
    if ! command -v python3 >/dev/null 2>&1; then
      problem "nothing to ask the server with" "install asinfo, of the tools of Aerospike, or python3"
      finish
    fi
  fi
  if ! "$ask" "$host" "$port" build namespaces statistics "namespace/$namespace" >"$scratch/answers" 2>"$scratch/why"; then
    local why mend="is the server up (systemctl status aerospike), and is this the address and the port of its service (network { service { … } })?"
    why=$(tail -n 1 "$scratch/why")
    case $why in
      login*) mend="look at --user, and at what \$$password_env is" ;;
      *"log in"*) mend="" ;;
    esac
    problem "can't ask $host:$port: ${why:-it said nothing}" ${mend:+"$mend"}
    finish
  fi

  local namespaces build
  namespaces=$(answer namespaces)
  case $namespaces in
    ERROR* | FAIL* | error*)
      problem "$host:$port does not answer: $namespaces" "give a user that may read statistics: --user USER --password-env VARIABLE"
      finish
      ;;
  esac
  build=$(answer build)
  answer statistics >"$scratch/stats"
  local nodes integrity
  nodes=$(number cluster_size)
  integrity=$(value cluster_integrity)
  answer "namespace/$namespace" >"$scratch/stats"
  [ -n "$nodes" ] || nodes=$(number ns_cluster_size)
  ok "Aerospike ${build:-of unknown version} at $host:$port, cluster of ${nodes:-an unknown number of} node$([ "$nodes" = 1 ] || echo s)"
  if [ "$integrity" = false ]; then
    warning "the nodes do not agree on who is in the cluster (cluster_integrity false)" "look for a broken network or heartbeats between them"
  fi

  if [[ ";$namespaces;" != *";$namespace;"* ]]; then
    problem "there is no namespace $namespace; there are: ${namespaces//;/, }" \
      "add it to aerospike.conf on every node (setup-aerospike-namespace.sh config --namespace $namespace --write FILE), and restart them one after the other"
    finish
  fi
  if [ -z "$(value nsup-period)" ]; then
    problem "can't read the state of namespace $namespace: $(head -c 200 "$scratch/stats")" "give a user that may read statistics"
    finish
  fi
  ok "namespace $namespace is there, with $(number objects) records on this node"
  local set="asinfo -h $host -p $port -v 'set-config:context=namespace;id=$namespace"

  # Expiry.
  local period default_ttl wanted
  period=$(number nsup-period)
  if [ "$period" = 0 ] && [ "$(value allow-ttl-without-nsup)" = true ]; then
    warning "nsup-period is 0: records expire, but stay in storage until it is full" \
      "$set;nsup-period=120' on every node, and the same in aerospike.conf"
  elif [ "$period" = 0 ]; then
    problem "nsup-period is 0: writes with a TTL, as all of Cohort's, are refused, and nothing expires" \
      "$set;nsup-period=120' on every node, and the same in aerospike.conf"
  else
    ok "expired records are removed every $period s"
  fi
  default_ttl=$(number default-ttl)
  wanted=$(seconds "$ttl")
  if [ "$default_ttl" = "$wanted" ]; then
    ok "default-ttl is $default_ttl s"
  else
    warning "default-ttl is ${default_ttl:-unknown} s, not $wanted s; Cohort's records have a TTL of their own, others would not have the one wanted" \
      "$set;default-ttl=$wanted' on every node, and the same in aerospike.conf"
  fi

  # Copies.
  local copies now
  copies=$(number replication-factor)
  now=$(number effective_replication_factor)
  if [ "$copies" = 1 ]; then
    warning "replication-factor is 1: when a node is lost, so are its records" \
      "$set;replication-factor=2' on every node, then asinfo -h $host -p $port -v recluster:, and the same in aerospike.conf (with strong-consistency, a restart instead)"
  elif [ -n "$now" ] && [ "$now" -lt "${copies:-0}" ]; then
    warning "replication-factor is $copies, but there are only $now cop$([ "$now" = 1 ] && echo y || echo ies): the cluster has too few nodes" \
      "start more nodes; for a server alone, as in a test, that is all right"
  else
    ok "${copies:-an unknown number of} copies of each record"
  fi
  local lost dead
  lost=$(number unavailable_partitions)
  dead=$(number dead_partitions)
  lost=$((${lost:-0} + ${dead:-0}))
  if [ "$lost" -gt 0 ]; then
    problem "$lost partitions are dead or unavailable: their records can't be read or written" "bring back the nodes that are missing; after that, see recluster and revive"
  fi

  # Space: from Aerospike 7 on data_…, before that device_… or memory_….
  local used total used_pct avail_pct stop_used stop_avail evict
  if [ -n "$(value data_total_bytes)" ]; then
    used=$(number data_used_bytes) total=$(number data_total_bytes) avail_pct=$(number data_avail_pct)
    stop_used=$(number storage-engine.stop-writes-used-pct) stop_avail=$(number storage-engine.stop-writes-avail-pct)
    evict=$(number storage-engine.evict-used-pct)
  elif [ -n "$(value device_total_bytes)" ]; then
    used=$(number device_used_bytes) total=$(number device_total_bytes) avail_pct=$(number device_available_pct)
    stop_used=$(number storage-engine.max-used-pct) stop_avail=$(number storage-engine.min-avail-pct)
    evict=$(number high-water-disk-pct)
  else
    used=$(number memory_used_bytes) total=$(number memory-size) avail_pct=
    stop_used=$(number stop-writes-pct) stop_avail=
    evict=$(number high-water-memory-pct)
  fi
  used_pct=
  if [ -n "$used" ] && [ "${total:-0}" -gt 0 ]; then
    used_pct=$((used * 100 / total))
  fi
  local more="give it more room (data-size or filesize; up to Aerospike 6 memory-size too), add nodes, or shorten the TTL"
  if [ "$(value clock_skew_stop_writes)" = true ]; then
    problem "writes are refused: the clocks of the nodes differ too much" "synchronise them (chrony, ntpd)"
  fi
  if [ "$(value stop_writes)" = true ]; then
    problem "writes are refused (stop_writes): ${used_pct:-?} % of the storage is used, of at most ${stop_used:-?} %; ${avail_pct:-?} % can be written, of at least ${stop_avail:-?} %; or the machine's memory or the budget of the indexes is used up" "$more"
  fi
  if [ "$(value hwm_breached)" = true ]; then
    problem "the high-water mark is reached: the server evicts records before they expire" "$more; or raise evict-used-pct (up to Aerospike 6: high-water-memory-pct, high-water-disk-pct)"
  elif [ "${evict:-0}" -gt 0 ] && [ -n "$used_pct" ] && [ "$used_pct" -ge $((evict * 85 / 100)) ]; then
    warning "$used_pct % of the storage is used; from $evict % on, records are evicted before they expire" "$more"
  fi
  if [ -n "$used_pct" ]; then
    local room
    room="$(size $((total - used))) of $(size "$total") free on this node ($used_pct % used)"
    if [ "$(value stop_writes)" != true ] && [ "${stop_used:-0}" -gt 0 ] && [ "$used_pct" -ge $((stop_used * 85 / 100)) ]; then
      warning "$room; at $stop_used % writes stop" "$more"
    else
      ok "$room"
    fi
  fi
  if [ "$(value stop_writes)" != true ] && [ -n "$avail_pct" ] && [ -n "$stop_avail" ] && [ "$avail_pct" -lt $((stop_avail * 2)) ]; then
    warning "only $avail_pct % of the storage can be written at once; below $stop_avail % writes stop" "raise defrag-lwm-pct, or $more"
  fi
  local budget memory
  memory=$(number memory_free_pct)
  if [ "${memory:-100}" -le 20 ] && [ "$(value stop_writes)" != true ]; then
    warning "only $memory % of memory-size is free" "raise memory-size, add nodes, or shorten the TTL"
  fi
  budget=$(number indexes_memory_used_pct)
  if [ "${budget:-0}" -ge 85 ]; then
    warning "$budget % of indexes-memory-budget is used; at 100 % writes stop" "raise indexes-memory-budget, add nodes, or shorten the TTL"
  fi
  finish
}

case ${1:-} in
  config)
    shift
    config "$@"
    ;;
  check)
    shift
    check "$@"
    ;;
  -h | --help | help) usage ;;
  '') misuse "what is to be done: config or check?" ;;
  *) misuse "what is $1?" ;;
esac
