# Shared by the scripts beside it; sourced, never run. Settings and the contract: see `up`.
# shellcheck shell=bash
set -euo pipefail
RIG_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
RIG_HOME=${STOKER_RIG_HOME:-${TMPDIR:-/tmp}/stoker-rig-$(id -u)}
CACHE=${STOKER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stoker}

say() { printf 'rig: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- PostgreSQL -----------------------------------------------------------------------------------

# The folder of initdb and pg_ctl: $PG_BIN, the newest of Debian's, Homebrew's, or the one on the PATH.
pg_bin() {
  local found
  if [ -n "${PG_BIN:-}" ]; then echo "$PG_BIN"; return; fi
  # shellcheck disable=SC2012 # version folders, no odd names
  found=$(ls -d /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin 2>/dev/null | sort -V | tail -1)
  if [ -x "$found/initdb" ]; then echo "$found"; elif command -v initdb >/dev/null; then dirname "$(command -v initdb)"; else return 1; fi
}
# The server refuses to run as root: then it runs as the user of its package.
as_pg() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else (cd / && "$@"); fi; }
sql() { "$(pg_bin)/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U postgres -d "${PGDATABASE:-shop}" "$@"; }

# --- MariaDB --------------------------------------------------------------------------------------

mariadb_sql() { mariadb --no-defaults --default-character-set=utf8mb4 -h 127.0.0.1 -P "$MARIADB_PORT" -u root "$@"; }

# --- Java -----------------------------------------------------------------------------------------

# The java to run: $JAVA_HOME's, or the one on the PATH; fails below 17.
java_bin() {
  local java version
  for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" java /opt/homebrew/opt/openjdk*/bin/java /usr/local/opt/openjdk*/bin/java; do
    version=$("$java" -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p') || continue
    if [ "${version:-0}" -ge 17 ]; then echo "$java"; return; fi
  done 2>/dev/null
  return 1
}
# shellcheck disable=SC2034 # used by the scripts that source this
KAFKA_JARS="$CACHE/kafka/*"
jars_current() { # jars_current PART: are the jars of PART.xml in the cache?
  [ "$(cat "$CACHE/$1/stamp" 2>/dev/null)" = "$(cksum <"$RIG_DIR/$1.xml")" ]
}
tool() { # tool CLASS ARGS...: a short-lived Java program on the broker's jars
  "$(java_bin)" -Xmx512m -XX:TieredStopAtLevel=1 -Drig.log=error -Dlog4j2.configurationFile="$RIG_DIR/log4j2.properties" -cp "$KAFKA_JARS" "$@"
}

# --- Processes: a file NAME.pid holds process id and start time, so a reused id is never signalled ----

started() { # started PID: when it started, in whatever unit the system has
  if [ -r "/proc/$1/stat" ]; then sed 's/^.*) //' "/proc/$1/stat" | cut -d' ' -f20; else ps -o lstart= -p "$1" | tr -d ' '; fi
}
alive() {
  local pid start
  read -r pid start 2>/dev/null <"$RIG_HOME/$1.pid" || return 1
  kill -0 "$pid" 2>/dev/null && [ "$(started "$pid" 2>/dev/null)" = "$start" ]
}
spawn() { # spawn NAME COMMAND...: in the background, with its own log and pid file, out of the terminal's reach
  local name=$1 detach=() pid; shift
  ! command -v setsid >/dev/null || detach=(setsid)
  # (an empty array is "unbound" to the bash of macOS)
  ${detach[@]+"${detach[@]}"} nice -n "${STOKER_RIG_NICE:-0}" "$@" >>"$RIG_HOME/$name.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(started "$pid")" >"$RIG_HOME/$name.pid"
}
halt() {
  local name=$1 pid
  if alive "$name"; then
    read -r pid _ <"$RIG_HOME/$name.pid"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do alive "$name" || break; sleep 0.1; done
    ! alive "$name" || kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$RIG_HOME/$name.pid"
}
await() { # await NAME SECONDS COMMAND...: until COMMAND succeeds; at once an error where process NAME has ended ('-': none)
  local name=$1 until=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$name" != - ] && ! alive "$name"; then tail -5 "$RIG_HOME/$name.log" >&2; die "$name ended while starting: $RIG_HOME/$name.log"; fi
    [ "$SECONDS" -lt "$until" ] || die "$* did not succeed in time; logs: $RIG_HOME"
    sleep 0.2
  done
}

# --- Ports and addresses --------------------------------------------------------------------------

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# Six ports in a row that nobody listens on, below the range that systems hand out to clients.
free_base() {
  local base i
  for _ in $(seq 100); do
    base=$((12000 + (RANDOM % 3000) * 6))
    for i in 0 1 2 3 4 5; do ! port_open $((base + i)) || continue 2; done
    echo "$base"; return
  done
  die "no free ports"
}
# Sets PG_PORT, KAFKA_PORT, CONTROLLER_PORT, CONNECT_PORT, REGISTRY_PORT, MARIADB_PORT; fails where this rig has none yet.
ports() {
  local base
  base=$(cat "$RIG_HOME/port" 2>/dev/null) || return 1
  PG_PORT=$base KAFKA_PORT=$((base + 1)) CONTROLLER_PORT=$((base + 2)) CONNECT_PORT=$((base + 3)) REGISTRY_PORT=$((base + 4))
  MARIADB_PORT=$((base + 5))
  # shellcheck disable=SC2034
  CONNECT_URL=http://127.0.0.1:$CONNECT_PORT REGISTRY_URL=http://127.0.0.1:$REGISTRY_PORT KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT
}
