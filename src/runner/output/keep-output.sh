#!/bin/sh
# Reads what processes print while there is no runner to do so, so that none of them has to wait: a pipe takes 64 KiB
# and no more. Started by the runner, whose end this notices by the end of its stdin. It reads each until nobody can
# write any more, beside the next runner too, which follows the files: to stop it would lose what it has in hand.
#   keep-output.sh DIRECTORY   the FIFOs, NAME.out and NAME.err; what comes out of one is put into NAME.out.PID.kept,
#                              and NAME.out.PID.kept.over is there when no more comes. PID.reading: all have begun.
set -u
umask 077

# Told that it is not needed, or, at the end of stdin, that it is.
read -r _ && exit 0

# So much of each stream, in units of 512 bytes, or as much as the disk takes; what comes then is thrown away.
ulimit -f 524288

is_read_by_another() {
  for other in "$1".*.kept; do
    [ -e "$other.over" ] && continue
    pid=${other#"$1".}
    kill -s 0 -- "-${pid%.kept}" 2> /dev/null && return 0
  done
  return 1
}

for fifo in "$1"/*.out "$1"/*.err; do
  [ -p "$fifo" ] || continue
  is_read_by_another "$fifo" && continue
  kept=$fifo.$$.kept
  : > "$kept"
  {
    # Open for both, for a moment: were nobody left who writes, to open it for reading would never end.
    exec 3<> "$fifo" < "$fifo" 3>&-
    cat >> "$kept" || cat > /dev/null
    : > "$kept.over"
  } 2> /dev/null &
done
: > "$1/$$.reading"
wait
rm -f "$1/$$.reading"
