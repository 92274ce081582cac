#!/bin/sh
# Reads what processes print while there is no runner to do so, so that none of them has to wait: a pipe takes 64 KiB
# and no more. Started by the runner, whose end this notices by the end of its stdin; ended by the next runner.
#   keep-output.sh DIRECTORY   the FIFOs, NAME.out and NAME.err; what comes out of one is put into NAME.out.kept
set -u
umask 077

# Told that it is not needed, or, at the end of stdin, that it is.
read -r _ && exit 0

# So much of each stream, in units of 512 bytes, or as much as the disk takes; what comes then is thrown away.
ulimit -f 131072
for fifo in "$1"/*.out "$1"/*.err; do
  [ -p "$fifo" ] || continue
  { cat "$fifo" >> "$fifo.kept" || cat "$fifo" > /dev/null; } 2> /dev/null &
done
wait
