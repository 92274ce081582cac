#!/usr/bin/perl
# Rolls an app back, for bin/sluice: Node.js takes longer to start than the rollback takes. Loads no module, to start in a few
# milliseconds.
#
# Usage: rollback.pl SOCKET APP ENVIRONMENT RELEASE COMMAND…, with the unix socket of a server on this machine; RELEASE may be
# empty. Runs the command in its place if no rollback begins: the command prints why.
use strict;
use warnings;

my ($path, $app, $environment, $release, @command) = @ARGV;

sub run_command { exec { $command[0] } @command or die "$command[0]: $!\n" }

# PF_UNIX and SOCK_STREAM of Linux, and its sockaddr_un.
my $server;
run_command() unless length $path < 108 && socket($server, 1, 1, 0) && connect($server, pack('S a108', 1, $path));

my $body = $release eq '' ? '{}' : qq({"release":$release});
# With HTTP/1.0, the answer has no chunks: it ends when the server closes the connection.
my $head = join "\r\n", "POST /v1/apps/$app/rollback?environment=$environment HTTP/1.0", 'Host: localhost',
  'Accept: text/x-terminal, text/plain;q=0.5', 'Content-Type: application/json', 'Content-Length: ' . length $body;
syswrite($server, "$head\r\n\r\n$body") or run_command();

my $is_interrupted = 0;
$SIG{INT} = sub {
  exit 1 if $is_interrupted++;
  print "a rollback cannot be cancelled, and continues (press Ctrl-C again to stop waiting)\n";
};
$| = 1;
my $status = <$server> // '';
# No rollback has begun.
if ($status =~ m{^HTTP/1\.[01] [45]}) {
  close $server;
  $SIG{INT} = 'DEFAULT';
  run_command();
}
while (defined(my $line = <$server>)) { last if $line =~ /^\r?\n$/ }

# The output of the app may have colours.
sub without_colours { my ($text) = @_; $text =~ s/\e\[[0-9;:]*m//g; return $text }

my $is_coloured = -t STDOUT && !$ENV{NO_COLOR};
while (defined(my $line = <$server>)) {
  if ($line =~ /^failed/) {
    # The error has all lines from here on.
    my $error = without_colours(join '', $line, <$server>);
    $error =~ s/^(failed[^:]*:)/\e[31m$1\e[39m/ if -t STDERR && !$ENV{NO_COLOR};
    print STDERR $error;
    exit 1;
  }
  $line = without_colours($line) unless $is_coloured;
  my $is_live = $line =~ /^live: /;
  $line =~ s/^live:/\e[32mlive:\e[39m/ if $is_coloured;
  $line =~ s/^(-- .*)/\e[1m$1\e[22m/ if $is_coloured;
  print $line;
  exit 0 if $is_live;
}
print STDERR "failed: the connection to the server was lost; the rollback may continue\n";
print STDERR "  Check its state: `sluice releases $app`.\n";
exit 1;
