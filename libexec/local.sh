#!/bin/sh
# ./install.sh --local: installs Sluice into this checkout and starts it. Needs npm and any Node.js from 18 up; no root.
set -eu

usage() {
  cat <<'TEXT'
Usage: ./install.sh --local [--stop]

  --local          Install into this checkout, start Sluice on this machine only, and deploy the sample app
  --local --stop   Stop Sluice and its apps; their state remains

State is in .sluice in this checkout, or in SLUICE_HOME. Run it again after a reboot to start Sluice and its apps; a second
run changes nothing.
TEXT
}

main() {
  root=$(cd "$(dirname "$0")/.." && pwd -P)
  sluice=$root/bin/sluice
  node=$root/libexec/node
  prefix=${SLUICE_HOME:+"SLUICE_HOME='$SLUICE_HOME' "}
  export SLUICE_HOME="${SLUICE_HOME:-$root/.sluice}"
  # The user's shell may point at another server.
  unset SLUICE_URL SLUICE_TOKEN
  # A shell may have set these for another Node.js.
  unset NODE_OPTIONS NODE_PATH

  case $* in
    --local) install_and_start ;;
    "--local --stop" | "--stop --local") stop ;;
    *--help*) usage ;;
    *)
      usage >&2
      fail 2 "unknown option: $*"
      ;;
  esac
}

install_and_start() {
  install_packages
  start
  deploy_sample
  print_next_steps
}

# Installs the packages in package-lock.json, one of which has the Node.js of Sluice. npm writes
# node_modules/.package-lock.json last, so a newer lockfile has changed since.
install_packages() {
  if "$node" --version >/dev/null 2>&1 && [ ! "$root/package-lock.json" -nt "$root/node_modules/.package-lock.json" ]; then
    say "packages: already installed"
  else
    command -v npm >/dev/null || fail 1 "npm is not installed" "Install Node.js 18 or newer; npm comes with it."
    say "packages: installing"
    # A developer's checkout keeps the packages of the tests.
    omit=--omit=dev
    [ ! -d "$root/node_modules/@biomejs" ] || omit=--include=dev
    # npm would run compiled code that it finds in /tmp, where all users write.
    (cd "$root" && NODE_DISABLE_COMPILE_CACHE=1 npm ci $omit --no-audit --no-fund --no-update-notifier --loglevel=error) ||
      fail 1 "npm could not install the packages" "The output of npm is above."
  fi
  problem=$("$node" --version 2>&1 >/dev/null) || fail 1 "the Node.js that came with the packages does not run" \
    "$problem
  If libatomic.so.1 is missing: apt install libatomic1"
}

start() {
  if running; then
    say "sluice: already running"
    return
  fi
  mkdir -p -m 700 "$SLUICE_HOME"
  say "sluice: starting"
  # Sluice logs to sluice.log; up.log has errors from before it opens that file.
  nohup "$sluice" up >"$SLUICE_HOME/up.log" 2>&1 </dev/null &
  pid=$!
  wait_until running_or_gone
  if ! running; then
    tail -n 20 "$SLUICE_HOME/up.log" >&2
    [ -s "$SLUICE_HOME/up.log" ] || fail 1 "Sluice did not start" "$SLUICE_HOME/up.log is empty. Is the disk full?
  $(df -Ph "$SLUICE_HOME" | tail -n 1)"
    fail 1 "Sluice did not start" "The lines above are from $SLUICE_HOME/up.log"
  fi
}

deploy_sample() {
  # After a restart, apps that were running start again.
  wait_until not_starting || fail 1 "the sample app does not start" "$(not_started)"
  [ -z "$(sample 'it.problem?.message')" ] || fail 1 "the sample app does not start" "$(not_started)"
  url=$(sample 'it.state === "running" ? it.url : ""')
  if [ -n "$url" ]; then
    say "hello: already live"
  elif has_other_apps; then
    # A user who removed or stopped the sample app does not want it back after each reboot.
    say "hello: not deployed, since there are other apps"
    return
  else
    say "hello: deploying examples/hello"
    "$sluice" deploy "$root/examples/hello" --app hello || fail 1 "the sample app did not go live"
    url=$(sample it.url)
  fi
  answer=$("$node" -e 'fetch(process.argv[1]).then((r) => r.text()).then(console.log)' "$url") ||
    fail 1 "nothing answers at $url" "${prefix}$sluice logs hello"
  say "hello: answers \"$answer\""
}

print_next_steps() {
  # The URL has a variable for the token: http://git:$TOKEN@127.0.0.1:8700
  api=$("$sluice" status --json | field 'it.server.url.replace("//", "//git:$" + "TOKEN@")')
  [ -z "$url" ] || printf '\nThe sample app is live at %s\n' "$url"
  cat <<TEXT

Deploy an app from its git repository, with NAME as its name:
  TOKEN=\$(${prefix}$sluice token create NAME --app NAME) &&
    git remote add deploy "$api/git/NAME.git" && git push deploy main
Other commands:
  ${prefix}$sluice status
  ${prefix}$sluice deploy DIRECTORY --app NAME     # deploys without git
  ${prefix}$sluice logs hello -f
Stop Sluice and its apps: ${prefix}$root/install.sh --local --stop
After a reboot, start them again: ${prefix}$root/install.sh --local
TEXT
}

stop() {
  # The supervisor comes first: while it starts the server again, the server cannot report its process.
  pid=$(supervisor)
  if [ -z "$pid" ] && running; then pid=$("$sluice" status --json | field 'it.server.pid'); fi
  if [ -z "$pid" ]; then
    say "sluice: not running"
    end_left
    return
  fi
  say "sluice: stopping (process $pid)"
  # The process may have ended just now.
  kill "$pid" 2>/dev/null || :
  wait_until gone || say "sluice: process $pid has not ended within a minute; its log: $SLUICE_HOME/sluice.log"
  end_left
  say "sluice: stopped; its state remains in $SLUICE_HOME"
  say "Start it and its apps again: ${prefix}$root/install.sh --local"
}

# Prints the id of the process that restarts the server, or nothing. Checks the command of the process, because another
# process may have the id now.
supervisor() {
  pid=$(cat "$SLUICE_HOME/up.pid" 2>/dev/null) || return 0
  command=$({ tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null) || return 0
  case $command in *libexec/supervise.sh*) echo "$pid" ;; esac
}

# Ends processes of apps that remain after server and runner have died. Their records name them.
end_left() {
  "$node" "$root/src/runner/end-left.ts" || fail 1 "some processes of $SLUICE_HOME could not be ended" \
    "Their records are in $SLUICE_HOME/run/processes."
}

running() {
  "$sluice" status --json >/dev/null 2>&1
}

gone() {
  ! kill -0 "$pid" 2>/dev/null
}

running_or_gone() {
  running || gone
}

# True also if the last attempt has failed: the next one would hardly succeed.
not_starting() {
  [ "$(sample 'it.problem === null ? it.state : ""')" != starting ]
}

# Prints why the sample app does not run, and what to do.
not_started() {
  sample '[it.problem?.message, it.problem?.hint].filter(Boolean).join("\n  ")'
  printf '\n  Its log: %s\n' "${prefix}$sluice logs hello"
}

has_other_apps() {
  [ "$("$sluice" apps --json | field 'it.some(({ name }) => name !== "hello")')" = true ]
}

# Prints a part of the sample app's status; nothing if there is no such app.
sample() {
  "$sluice" status hello --json 2>/dev/null | field "$1 ?? ''"
}

# Waits until a command succeeds, at most a minute.
wait_until() {
  tries=0
  until "$1"; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.2
  done
}

# Prints a part of the JSON on standard input. The expression calls the JSON `it`.
field() {
  "$node" -p "const it = JSON.parse(require('fs').readFileSync(0, 'utf8')); $1"
}

say() {
  echo "$1"
}

fail() {
  echo "install.sh: $2" >&2
  [ $# -lt 3 ] || echo "  $3" >&2
  exit "$1"
}

main "$@"
