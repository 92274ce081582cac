#!/bin/sh
# Saves the output of apps while there is no runner, so that no process has to wait: a pipe takes only 64 KiB. The runner starts
# this script, and its death ends the stdin of the script. The script reads each FIFO until no process can write into it. It
# continues beside the next runner, which follows the files: otherwise the output in the hands of the script would be lost.
#   keep-output.sh DIRECTORY   DIRECTORY has the FIFOs NAME.out and NAME.err. The output of NAME.out goes to NAME.out.PID.kept,
#                              and NAME.out.PID.kept.over appears at its end. PID.reading appears when all have begun.
set -u
umask 077

# A line means that the script is not needed. The end of stdin means that it is.
read -r _ && exit 0

# Limit of each file, in units of 512 bytes. Output beyond the limit, or beyond a full disk, is dropped.
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
    # Open for reading and writing, for a moment: without a writer, opening for reading alone would never end.
    exec 3<> "$fifo" < "$fifo" 3>&-
    cat >> "$kept" || cat > /dev/null
    : > "$kept.over"
  } 2> /dev/null &
done
: > "$1/$$.reading"
wait
rm -f "$1/$$.reading"
