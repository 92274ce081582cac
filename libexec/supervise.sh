#!/bin/sh
# Runs the server of `sluice up` and starts it again when it dies: at once, then after a delay that grows to 15 s with each
# death in a row. This is a shell script because a shell takes 1 MB of memory; Node.js would take 40 MB.
#
# Usage: supervise.sh HOME COMMAND [ARGUMENT...]
#
# Exit status of the command: 0 if it stopped on a signal, 1 if it cannot start, 3 if another server has this home, 70 if it
# crashed; src/server/program.ts sets them. The command gets SLUICE_SIGNAL, the name of a signal that it must act on
# at its start, or an empty text.
set -u

# A server that ran for this many seconds has started well. Tests set more, because their machine may be slow.
stable=${SLUICE_STABLE_SECONDS:-3}

main() {
  home=$1
  shift
  signal=
  child=
  repeater=
  sleeper=
  # INT is passed on as TERM, for two reasons: a shell starts its children with INT ignored, and a terminal sends INT to them,
  # too. A second INT would end the server at once; a second TERM does nothing.
  trap 'receive TERM' INT TERM
  trap 'receive USR2' USR2
  trap forget EXIT
  deaths=0
  ran=no
  while :; do
    run "$@"
    [ "$status" != 0 ] || exit 0
    [ "$status" != 3 ] || exit 1
    if [ -n "$signal" ]; then
      # A signal killed the server before it could stop in order: the next one does so.
      [ -z "$given" ] && [ "$status" -gt 128 ] || exit 1
      continue
    fi
    [ $ran = yes ] || ! failed_to_start || exit 1
    ran=yes
    [ $lasted -lt $stable ] || deaths=0
    wait=$(delay $deaths)
    deaths=$((deaths + 1))
    note_death
    echo "sluice: the server ended with status $status and starts again in $wait s; see $home/sluice.log" >&2
    pause "$wait"
  done
}

# Notes the death of the server in Sluice's own log, for `sluice doctor`. A full disk must not keep the server down.
note_death() {
  {
    printf '{"level":"error","time":"%s","source":"supervisor","msg":"server ended","status":%s}\n' \
      "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$status" >>"$home/sluice.log"
  } 2>/dev/null
}

# Removes up.pid if it names this process. The server writes the file, not this script: only a server that got the home does.
forget() {
  [ "$(cat "$home/up.pid" 2>/dev/null)" != $$ ] || rm -f "$home/up.pid"
}

# True if the server failed at its start. If the first start fails, the user must act; later starts are tried again.
failed_to_start() {
  [ "$status" = 1 ] || { [ "$status" = 70 ] && [ $lasted -lt $stable ]; }
}

# Runs the command until it has ended. Sets status, lasted (in seconds), and given: the signal that was passed at the start.
run() {
  given=$signal
  started=$(date +%s)
  SLUICE_SUPERVISOR=$$ SLUICE_SIGNAL=$given "$@" &
  child=$!
  # Passes on a signal that came before the child was known.
  [ "$signal" = "$given" ] || pass_on
  await "$child"
  child=
  [ -z "$repeater" ] || kill "$repeater" 2>/dev/null
  repeater=
  lasted=$(($(date +%s) - started))
}

# Waits for a child. A signal interrupts `wait`, so `wait` is called again; it returns 127 if it has returned the status before.
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

# Handles a signal. The shell may call this function between any two commands.
receive() {
  signal=$1
  interrupted=yes
  [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null
  [ -z "$child" ] || pass_on
}

# Sends the signal to the child, and again each second: the child is a copy of this shell at first, and loses signals then.
pass_on() {
  kill -s "$signal" "$child" 2>/dev/null
  [ -z "$repeater" ] || return 0
  while sleep 1 && kill -s "$signal" "$child"; do :; done >/dev/null 2>&1 &
  repeater=$!
}

# Prints the seconds to wait before the next start.
delay() {
  case $1 in
    0 | 1) echo 0 ;;
    2) echo 0.3 ;;
    3) echo 1 ;;
    4) echo 5 ;;
    *) echo 15 ;;
  esac
}

# Sleeps for some seconds, or until a signal comes.
pause() {
  [ -z "$signal" ] || return 0
  sleep "$1" &
  sleeper=$!
  # A signal that came before this line has not ended the sleep; from here on, `receive` ends it.
  [ -n "$signal" ] || wait "$sleeper"
  kill "$sleeper" 2>/dev/null
  sleeper=
}

main "$@"
