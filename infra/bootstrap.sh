#!/usr/bin/env bash
# Makes what every other command needs, once: .venv from requirements.lock and, except with `bootstrap.sh venv`, the
# programs of the local servers in .local. If it fails, it prints one line, exits with 2 and leaves nothing half-made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted=${1:-servers}
python=${PYTHON:-python3}
logs=.local/logs

fail() {
  printf 'ebbtide: %s\n' "$*" >&2
  exit 2
}

# ---- what exists already. The stamp has the path because a virtual environment does not work after a move.
lock_stamp() { { pwd && cat requirements.lock; } | sha256sum; }
project_stamp() { sha256sum <pyproject.toml; }
has_stamp() { [[ -f .venv/$1 && $(<".venv/$1") == "$2" ]]; }
has_servers() { [[ $wanted == venv || (-f .local/kafka/installed && -f .local/timescale/installed) ]]; }
has_packages() { has_stamp .lock-stamp "$lock"; }
has_project() { has_stamp .project-stamp "$project"; }

lock=$(lock_stamp)
project=$(project_stamp)
if has_packages && has_project && has_servers; then exit 0; fi

# ---- what the machine must have
java_version() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1; }
missing_for_venv() { has_packages || "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv; }
missing_for_servers() {
  [[ $wanted != venv ]] || return 0
  [[ $(java_version) -ge 17 ]] 2>/dev/null || echo openjdk-17-jre-headless
  [[ -f .local/kafka/installed ]] || command -v mvn >/dev/null || echo maven
}
require_python() {
  command -v "$python" >/dev/null || fail "$python is missing: install Python 3.11 or newer (\`apt-get install python3\` as root)"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" -V) is too old: put Python 3.11 or newer first in PATH, or name it: make PYTHON=/path/to/python3"
}
install_with_apt() { # one line of apt's own as the reason
  echo "set-up: installing $* with apt-get"
  local log=$logs/apt-get.log
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"; } \
    </dev/null >"$log" 2>&1 ||
    fail "apt-get could not install $*: $(grep -m 1 -E '^(E|Err|W):' "$log" || echo 'no reason given'); check the network and the mirror, and run the same command again (full output in $log)"
}
require_root_for() { # the packages, where there are any
  if (($# > 0)) && { [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; }; then
    fail "missing on this machine: $*; type: sudo apt-get update && sudo apt-get install -y $*"
  fi
}
install_missing() { # $1 names them
  local missing
  mapfile -t missing < <("$1")
  if ((${#missing[@]} == 0)); then return; fi
  install_with_apt "${missing[@]}"
  mapfile -t missing < <("$1")
  ((${#missing[@]} == 0)) ||
    fail "${missing[*]} was installed, but PATH finds another $python, java or mvn first: put /usr/bin first in PATH"
}

# ---- .venv. The old one stays until the new one is complete.
pip_install() {
  .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --no-deps "$@" \
    </dev/null >"$logs/pip.log" 2>&1
}
pip_failure() {
  fail "pip could not install $1: $(grep -m 1 '^ERROR' "$logs/pip.log" || tail -n 1 "$logs/pip.log"); check the network and the index (pip config list), and run the same command again (full output in $logs/pip.log)"
}
make_venv() {
  rm -rf .venv.old
  if [[ -e .venv ]]; then mv .venv .venv.old; fi
  "$python" -m venv .venv >"$logs/venv.log" 2>&1 || fail "$python could not make .venv: $(tail -n 1 "$logs/venv.log")"
  # The lock names every package, so pip resolves nothing. Modules are compiled when first imported: most never are.
  pip_install --require-hashes --no-compile --retries 3 -r requirements.lock || pip_failure "the locked packages"
}
install_project() {
  pip_install --no-build-isolation --no-index --editable . || pip_failure "the project"
}
prepare_venv() {
  if ! has_packages; then
    make_venv
    printf '%s\n' "$lock" >.venv/.lock-stamp
    rm -rf .venv.old
  fi
  install_project
  printf '%s\n' "$project" >.venv/.project-stamp
}

# ---- both in parallel, all or nothing
jobs_running=()
clear_up() {
  local status=$?
  trap - EXIT
  if ((status != 0)); then
    exec 2>/dev/null # bash would report each job that ends here
    for job in "${jobs_running[@]}"; do kill -- "-$job" 2>/dev/null || true; done
    wait || true
    rm -rf .local/kafka.new .local/timescale.new
    if [[ -e .venv.old ]]; then
      rm -rf .venv && mv .venv.old .venv
    elif [[ -z $had_venv ]] && ! has_packages; then
      rm -rf .venv
    fi
  fi
  exit "$status"
}

require_python
mapfile -t missing < <(missing_for_venv && missing_for_servers)
require_root_for "${missing[@]}"
mkdir -p "$logs"
exec 8>.local/bootstrap.lock
flock 8 # a second set-up of the same checkout waits for the first, and then has nothing to do
if has_packages && has_project && has_servers; then exit 0; fi

had_venv=$(ls -d .venv 2>/dev/null || true)
trap clear_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
set -m # each job is a process group, so that it can be ended as a whole
: >"$logs/venv.err"
: >"$logs/servers.err"
if ! has_packages || ! has_project; then
  install_missing missing_for_venv
  echo "set-up: installing the Python packages into .venv (about a minute the first time)"
  prepare_venv 2>"$logs/venv.err" &
  jobs_running+=($!)
fi
if ! has_servers; then
  install_missing missing_for_servers # here and not in a job: apt-get must not be killed half-way
  echo "set-up: fetching Kafka and TimescaleDB into .local"
  "$python" -m infra.local.install 2>"$logs/servers.err" &
  jobs_running+=($!)
fi
for _ in "${jobs_running[@]}"; do
  if ! wait -n; then
    if [[ -s $logs/venv.err ]]; then cat "$logs/venv.err"; else cat "$logs/servers.err"; fi >&2
    exit 2
  fi
done
