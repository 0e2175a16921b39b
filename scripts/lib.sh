#!/usr/bin/env bash
# Sourced by scripts that need a package of the system, or a Java.

install() { # packages…
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  command -v apt-get >/dev/null 2>&1 || return
  echo "── installing $*" >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1 ||
    { $sudo apt-get update -qq >/dev/null 2>&1 && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1; }
}

# The first Java of version 17 or later, with the programs named.
find_java() { # programs…
  local folder program major
  for folder in "${JAVA_HOME:-/nonexistent}/bin" "$(dirname "$(command -v java 2>/dev/null || echo /nonexistent/java)")" /usr/lib/jvm/*/bin; do
    for program in "$@"; do [ -x "$folder/$program" ] || continue 2; done
    major=$("$folder/java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    if [ "${major:-0}" -ge 17 ]; then
      echo "$folder/java"
      return
    fi
  done
}

# Waits until no other process fetches the same; `exec 9>&-` lets the next one go on.
lock() { # file
  command -v flock >/dev/null 2>&1 || return 0
  exec 9>"$1"
  flock 9
}
