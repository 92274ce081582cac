# Finds processes of a user that have a mark in their environment: find-marked.pl UID GID MARK PID... Started by marked.ts as root.
# Prints the pids of marked processes, and "?" and the pids of processes that cannot be read at the moment: see marked.ts.
#
# Root without CAP_SYS_PTRACE may not read the environment of other users' processes, so this program takes their user and group.
# But its real user stays root: no process of that user may stop or end this program, as it could with a program of its own.
use strict;
use warnings;

# Bytes of an environment that are read: a process may show any part of its memory as its environment.
my $most = 8 * 1024 * 1024;
# Bit in field 9 of /proc/PID/stat: the process is exiting (include/linux/sched.h).
my $exiting = 0x4;

my ($uid, $gid, $mark, @pids) = @ARGV;
$) = "$gid $gid";
$> = $uid;
die "cannot read as user $uid: $!\n" if $> != $uid or (split ' ', $))[0] != $gid;

# Returns the content of a file of a process; empty if the file cannot be read.
sub content {
  my ($path) = @_;
  my $content = '';
  open(my $file, '<:raw', $path) or return '';
  while (length $content < $most) {
    sysread($file, $content, 65_536, length $content) or last;
  }
  return $content;
}

sub is_unclear {
  my ($pid) = @_;
  # Zombies and threads of the kernel have no program, and neither have processes that are exiting.
  return content("/proc/$pid/cmdline") eq '' || content("/proc/$pid/environ") ne '' if defined readlink "/proc/$pid/exe";
  my ($state, $flags) = content("/proc/$pid/stat") =~ /^.*\) (\S)(?: \S+){5} (\d+) /s or return 0;
  return $state ne 'Z' && ($flags & $exiting) != 0;
}

for my $pid (@pids) {
  my $environment = content("/proc/$pid/environ");
  if ($environment ne '') {
    print "$pid\n" if index("\0$environment", "\0$mark\0") >= 0;
  } elsif (is_unclear($pid)) {
    print "?$pid\n";
  }
}
