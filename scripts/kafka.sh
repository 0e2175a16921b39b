#!/usr/bin/env bash
# Runs a command with an Apache Kafka broker of its own, on loopback and a free port, which ends with the command:
#   scripts/kafka.sh COMMAND…
# The command finds
#   COHORT_TEST_KAFKA          address of the broker, host:port
#   COHORT_TEST_KAFKA_CONTROL  program that stops (stop), kills (kill) and starts (start) it, on the same port and data
#   COHORT_TEST_KAFKA_SECURE   address at which it takes TLS and a password (SASL PLAIN, user cohort, password secret)
#   COHORT_TEST_KAFKA_CA       file of the certificate that signed its own; both only where there is an openssl command
#   COHORT_TEST_KAFKA_HOME     folder of jars with Kafka's tools: java -cp "$COHORT_TEST_KAFKA_HOME/*" CLASS …
# Without a Kafka to be had, the command runs without it. COHORT_KAFKA_JAVA_OPTS replaces the options that keep
# the broker small and quick to start, as for a benchmark: COHORT_KAFKA_JAVA_OPTS=-Xmx2g
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)/kafka
tools=${COHORT_TOOLS:-$HOME/.cache/cohort/tools}
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
home=$tools/kafka-$version
folder=
child=
unset COHORT_TEST_KAFKA COHORT_TEST_KAFKA_SECURE COHORT_TEST_KAFKA_CA COHORT_TEST_KAFKA_CONTROL COHORT_TEST_KAFKA_HOME

skip() { # reason, command…
  echo "tests on Kafka ($1)" >>"${COHORT_SKIPPED:-/dev/null}"
  echo "SKIPPED: tests on Kafka ($1)"
  cleanup
  trap - EXIT INT TERM
  shift
  exec "$@"
}

cleanup() {
  [ -n "$folder" ] || return
  [ ! -e "$folder/settings" ] || "$folder/control" kill
  rm -rf "$folder"
}

# The command runs in a process group of its own, so that a signal sent to this script alone ends all of it too.
interrupt() { # signal, exit status
  trap '' INT TERM
  if [ -n "$child" ]; then
    kill -s "$1" -- "-$child" 2>/dev/null
    for _ in $(seq 50); do
      kill -0 -- "-$child" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$child" 2>/dev/null
  fi
  exit "$2"
}
trap cleanup EXIT
trap 'interrupt INT 130' INT
trap 'interrupt TERM 143' TERM

. "$(dirname "$0")/lib.sh"
java=$(find_java java)
if [ -z "$java" ]; then
  install openjdk-17-jre-headless || install default-jre-headless
  java=$(find_java java)
  [ -n "$java" ] || skip "there is no Java 17, and it could not be installed" "$@"
fi

folder=$(mktemp -d) || exit 1

# Copied beside the place and then renamed, so that a run that ends half-way does no harm; one run at a time, for the sake
# of Maven's own store.
if [ ! -d "$home" ]; then
  command -v mvn >/dev/null 2>&1 || install maven
  command -v mvn >/dev/null 2>&1 || skip "there is no Maven, and it could not be installed" "$@"
  mkdir -p "$tools" || exit 1
  lock "$tools/.kafka-$version.lock"
  if [ ! -d "$home" ]; then
    echo "── fetching Kafka $version into $home" >&2
    copy=$(mktemp -d "$tools/.kafka-$version.XXXXXX") || exit 1
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$copy" </dev/null >"$folder/mvn" 2>&1 &
    maven=$!
    trap 'kill "$maven" 2>/dev/null; rm -rf "$copy"; cleanup' EXIT
    wait "$maven" && chmod 755 "$copy" && python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$copy" "$home" 2>/dev/null
    rm -rf "$copy"
    trap cleanup EXIT
  fi
  exec 9>&-
  if [ ! -d "$home" ]; then
    grep -m 3 ERROR "$folder/mvn" >&2
    skip "Kafka $version could not be fetched with Maven" "$@"
  fi
fi

# Below the ports that systems give to outgoing connections: a client that tries to reach a stopped broker must not get
# its port.
read -r port controller secure <<<"$(python3 - <<'PYTHON'
import random, socket
held = []
while len(held) < 3:
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randint(12000, 29999)))
        held.append(s)
    except OSError:
        pass
print(*(s.getsockname()[1] for s in held))
PYTHON
)"

certify() {
  command -v openssl >/dev/null 2>&1 || return
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout "$folder/key.pem" -out "$folder/ca.pem" >"$folder/openssl" 2>&1 || return
  cat "$folder/key.pem" "$folder/ca.pem" >"$folder/both.pem"
}
listeners=PLAINTEXT://127.0.0.1:$port secured=
if certify; then
  listeners+=,SASL_SSL://127.0.0.1:$secure
  secured="sasl.enabled.mechanisms=PLAIN
ssl.keystore.type=PEM
ssl.keystore.location=$folder/both.pem
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_cohort=\"secret\";"
  COHORT_TEST_KAFKA_SECURE=127.0.0.1:$secure
  COHORT_TEST_KAFKA_CA=$folder/ca.pem
  export COHORT_TEST_KAFKA_SECURE COHORT_TEST_KAFKA_CA
fi

cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=$listeners,CONTROLLER://127.0.0.1:$controller
advertised.listeners=$listeners
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
$secured
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$folder/data
PROPERTIES
cat "$here/server.properties" >>"$folder/server.properties"
cp "$here/control.sh" "$folder/control" && chmod 755 "$folder/control"

classpath=$(printf '%s:' "$home"/*.jar)
# Classes as this Java has loaded them before; half of the time to start.
archive=$home/classes-$("$java" -version 2>&1 | cksum | cut -d ' ' -f 1).jsa
read -ra options <<<"${COHORT_KAFKA_JAVA_OPTS:--Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"
options+=(-XX:-UsePerfData -Xshare:auto -Xlog:disable -Xlog:all=error:stderr
  -Dlog4j2.configurationFile="$here/log4j2.properties" -Djava.io.tmpdir="$folder")
format() { # options of java…
  "$java" "${options[@]}" "$@" -cp "$classpath" kafka.tools.StorageTool format -t Y29ob3J0LXRlc3RzLTAwMQ -c "$folder/server.properties" \
    >"$folder/log" 2>&1
}
settings() { # options of java…
  local all=("${options[@]}" "$@")
  { declare -p java classpath port; declare -p all | sed 's/^declare -a all=/options=/'; } >"$folder/settings"
}
failed() {
  echo "FAILED: Kafka does not start" >&2
  cat "$folder/log" >&2 2>/dev/null
  exit 1
}

format -XX:SharedArchiveFile="$archive" || failed
if [ ! -e "$archive" ]; then
  # A run of the broker for nothing but its classes; without them it is only slower.
  settings -XX:ArchiveClassesAtExit="$folder/classes.jsa"
  "$folder/control" start && "$folder/control" stop
  # From one file system to another a move is no rename.
  mv "$folder/classes.jsa" "$archive.$$" 2>/dev/null && mv -f "$archive.$$" "$archive"
fi
settings -XX:SharedArchiveFile="$archive"
"$folder/control" start || failed

export COHORT_TEST_KAFKA="127.0.0.1:$port" COHORT_TEST_KAFKA_CONTROL="$folder/control" COHORT_TEST_KAFKA_HOME="$home"
if [ -t 0 ]; then
  # At a terminal the command reads from it, and gets Ctrl-C itself.
  "$@"
  exit
fi
set -m
"$@" &
child=$!
set +m
wait "$child"
status=$?
child=
exit $status
