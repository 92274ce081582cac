# Runs a command in a terminal of its own: terminal.pl ROWS COLUMNS COMMAND... Started by terminal.ts as the user of the app.
# Copies standard input to the terminal, and the terminal's output to standard output. Writes the pid of the command, which has a
# session of its own, to descriptor 3. Each line "ROWS COLUMNS" on descriptor 3 sets the size. SIGINT, SIGTERM, SIGQUIT and SIGHUP
# are passed on to the processes in the foreground of the terminal. When descriptor 3 or standard output is closed, the terminal
# hangs up: the kernel sends SIGHUP to the command.
# The exit status is that of the command, or 128 and the number of the signal that ended it.
#
# Node.js cannot open a terminal. script(1) can, but it has no way to set the size, and outlives its parent.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR);
use Fcntl qw(F_GETFL F_SETFL O_NOCTTY O_NONBLOCK O_RDWR);
use POSIX ();

# Requests and flags of Linux (ioctl_tty(2), termios(3)); Perl has no names for them without its development files.
my ($get_number, $unlock, $set_size, $make_controlling, $utf8_input) = (0x80045430, 0x40045431, 0x5414, 0x540E, 0040000);
# Bytes that wait in each direction. Without a limit, a reader that is slow would let the memory grow.
my $most = 65_536;
# Seconds until the state of the command is checked again, in case its end came just before a wait.
my $check_every = 1;

my ($rows, $columns, @command) = @ARGV;
sysopen(my $terminal, '/dev/ptmx', O_RDWR | O_NOCTTY) or die "cannot open a terminal: $!\n";
my ($number, $no) = (pack('I', 0), pack('i', 0));
ioctl($terminal, $unlock, $no) and ioctl($terminal, $get_number, $number) or die "cannot open a terminal: $!\n";
sysopen(my $command_side, '/dev/pts/' . unpack('I', $number), O_RDWR | O_NOCTTY) or die "cannot open a terminal: $!\n";
resize($rows, $columns);
# Otherwise a backspace removes one byte of a character.
my $modes = POSIX::Termios->new;
$modes->getattr(fileno $command_side);
$modes->setiflag($modes->getiflag | $utf8_input);
$modes->setattr(fileno($command_side), POSIX::TCSANOW());

$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = sub { };
my $child = fork // die "cannot start a process: $!\n";
if ($child == 0) {
  $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD);
  POSIX::setsid();
  ioctl($command_side, $make_controlling, 0);
  POSIX::dup2(fileno($command_side), $_) for 0 .. 2;
  POSIX::close(3);
  exec { $command[0] } @command or POSIX::_exit(127);
}
close $command_side;
my @signals;
$SIG{$_} = sub { push @signals, $_[0] } for qw(INT TERM QUIT HUP);

open(my $control, '+<&=', 3) or die "descriptor 3: $!\n";
syswrite($control, "$child\n");
fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $terminal, $control, \*STDIN, \*STDOUT;
my ($input, $output, $sizes) = ('', '', '');
my ($has_input, $has_output) = (1, 1);
my $status;

sub resize {
  my ($new_rows, $new_columns) = @_;
  ioctl($terminal, $set_size, pack('S4', $new_rows, $new_columns, 0, 0));
}

# Sends a signal to the processes in the foreground of the terminal.
sub pass {
  my ($signal) = @_;
  return if defined $status;
  my $foreground = POSIX::tcgetpgrp(fileno $terminal);
  # The command may not have its terminal yet.
  kill $signal, -(defined $foreground && $foreground > 0 ? $foreground : $child);
}

# Returns the number of bytes, undef if there are none now, and 0 at the end.
sub fill {
  my ($from, $buffer) = @_;
  my $count = sysread($from, $$buffer, $most, length $$buffer);
  return $count if defined $count;
  return $!{EAGAIN} || $!{EINTR} ? undef : 0;
}

# Returns false if nobody reads.
sub drain {
  my ($to, $buffer) = @_;
  my $count = syswrite($to, $$buffer);
  return $!{EAGAIN} || $!{EINTR} if not defined $count;
  substr($$buffer, 0, $count) = '';
  return 1;
}

while (1) {
  if (not defined $status and waitpid($child, POSIX::WNOHANG()) == $child) {
    $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
  }
  last if defined $status and not $has_output and $output eq '';
  my ($readable, $writable) = ('', '');
  vec($readable, 3, 1) = 1;
  vec($readable, 0, 1) = 1 if $has_input and length $input < $most;
  vec($readable, fileno $terminal, 1) = 1 if $has_output and length $output < $most;
  vec($writable, fileno $terminal, 1) = 1 if $input ne '' and $has_output;
  vec($writable, 1, 1) = 1 if $output ne '';
  # A process that the command has left may have the terminal open: its output ends when nothing comes for a moment.
  my $is_last = defined $status && $output eq '';
  my $count = select($readable, $writable, undef, $is_last ? 0.1 : $check_every);
  if ($count < 0) {
    die "cannot wait: $!\n" if not $!{EINTR};
    ($readable, $writable) = ('', '');
  }
  last if $count == 0 and $is_last;
  if (@signals or vec($readable, 3, 1)) {
    my $got = fill($control, \$sizes);
    last if defined $got and $got == 0;
    resize($1, $2) while $sizes =~ s/^(\d+) (\d+)\n//;
    # A terminal that is closed sends SIGHUP itself: a second signal could end a command before it has cleaned up.
    pass(shift @signals) while @signals;
  }
  if (vec($readable, 0, 1)) {
    my $got = fill(\*STDIN, \$input);
    $has_input = 0 if defined $got and $got == 0;
  }
  if (vec($writable, fileno $terminal, 1)) {
    drain($terminal, \$input) or $input = '';
  }
  if (vec($readable, fileno $terminal, 1)) {
    my $got = fill($terminal, \$output);
    $has_output = 0 if defined $got and $got == 0;
  }
  if (vec($writable, 1, 1)) {
    drain(\*STDOUT, \$output) or last;
  }
}
exit($status // 129);
