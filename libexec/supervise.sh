#!/bin/sh
# Runs the server of `sluice up` and starts it again when it dies: at once, then after a delay that grows to 15 s with each
# death in a row. A shell, since it takes 1 MB of memory; Node.js would take 40.
#
# Usage: supervise.sh HOME COMMAND [ARGUMENT...]
#
# Exit status of the command: 0 if it was told to stop, 1 if it cannot start, 3 if another server has this home, 70 if it
# crashed; src/server/as-program.ts has them. SLUICE_TOLD in its environment is a signal that tells it to stop at once.
set -u

# A server that ran for so many seconds did not die at its start. Tests set more: their machine may be slow.
stable=${SLUICE_STABLE_SECONDS:-3}

main() {
  home=$1
  shift
  told=
  child=
  repeater=
  sleeper=
  # Not INT: a shell starts its children with INT ignored, and a terminal sends it to them, too. A second INT ends the server
  # at once, a second TERM does nothing.
  trap 'tell TERM' INT TERM
  trap 'tell USR2' USR2
  trap forget EXIT
  deaths=0
  ran=no
  while :; do
    run "$@"
    [ "$status" != 0 ] || exit 0
    [ "$status" != 3 ] || exit 1
    if [ -n "$told" ]; then
      # A signal killed the server before it could stop in order: the next one does so.
      [ -z "$given" ] && [ "$status" -gt 128 ] || exit 1
      continue
    fi
    [ $ran = yes ] || ! failed_to_start || exit 1
    ran=yes
    [ $lasted -lt $stable ] || deaths=0
    wait=$(delay $deaths)
    deaths=$((deaths + 1))
    echo "sluice: the server ended with status $status and starts again in $wait s; see $home/sluice.log" >&2
    pause "$wait"
  done
}

# The server that has the home notes our process there: not we, who may be refused while another supervisor runs.
forget() {
  [ "$(cat "$home/up.pid" 2>/dev/null)" != $$ ] || rm -f "$home/up.pid"
}

# A first start that fails is for the user to see to; a later one is tried again.
failed_to_start() {
  [ "$status" = 1 ] || { [ "$status" = 70 ] && [ $lasted -lt $stable ]; }
}

# Runs the command until it has ended. Sets status, lasted (in seconds) and given, the signal that it got at its start.
run() {
  given=$told
  started=$(date +%s)
  SLUICE_SUPERVISOR=$$ SLUICE_TOLD=$given "$@" &
  child=$!
  # A signal that came in between was sent to nobody.
  [ "$told" = "$given" ] || pass_on
  await "$child"
  child=
  [ -z "$repeater" ] || kill "$repeater" 2>/dev/null
  repeater=
  lasted=$(($(date +%s) - started))
}

# Waits for a child. A signal interrupts `wait`, which then has to be called again; 127 says that its status was told before.
await() {
  status=0
  while :; do
    interrupted=no
    wait "$1"
    code=$?
    [ $code = 127 ] || status=$code
    [ $interrupted = yes ] || return 0
  done
}

# Called for a signal, at any line.
tell() {
  told=$1
  interrupted=yes
  [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null
  [ -z "$child" ] || pass_on
}

# Again each second: a child that is not the server yet, but still a copy of this shell, loses it.
pass_on() {
  kill -s "$told" "$child" 2>/dev/null
  [ -z "$repeater" ] || return 0
  while sleep 1 && kill -s "$told" "$child"; do :; done >/dev/null 2>&1 &
  repeater=$!
}

# Seconds before the next start.
delay() {
  case $1 in
    0 | 1) echo 0 ;;
    2) echo 0.3 ;;
    3) echo 1 ;;
    4) echo 5 ;;
    *) echo 15 ;;
  esac
}

# Sleeps until a signal comes.
pause() {
  [ -z "$told" ] || return 0
  sleep "$1" &
  sleeper=$!
  # A signal before `wait` does not interrupt it: from here on it ends the sleep.
  [ -n "$told" ] || wait "$sleeper"
  kill "$sleeper" 2>/dev/null
  sleeper=
}

main "$@"
