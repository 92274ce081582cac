# Tries to listen on ports as another user, in every way there is, until its input ends: squatter.pl UID PORT...
# Prints "round" after each round, and "got HOST PORT" when it listens.
use strict;
use warnings;
use Socket qw(:DEFAULT SO_REUSEPORT IPPROTO_IPV6 IPV6_V6ONLY inet_pton pack_sockaddr_in6);

my ($uid, @ports) = @ARGV;
if ($uid != 0) {
  $) = "$uid $uid";
  $( = $uid;
  $< = $> = $uid;
  die "still root" if $> == 0;
}
my @ways = ([], [SO_REUSEADDR], [SO_REUSEPORT], [SO_REUSEADDR, SO_REUSEPORT]);
$| = 1;
my $ready = '';
vec($ready, 0, 1) = 1;
while (!select(my $readable = $ready, undef, undef, 0)) {
  for my $port (@ports) {
    for my $host ('127.0.0.1', '0.0.0.0', '127.0.0.2', '::1', '::', '::ffff:127.0.0.1') {
      for my $way (@ways) {
        for my $clears (0, 1) { listens($host, $port, $way, $clears) and print "got $host $port\n"; }
      }
    }
  }
  print "round\n";
}

sub listens {
  my ($host, $port, $options, $clears) = @_;
  my $family = $host =~ /:/ ? AF_INET6 : AF_INET;
  socket(my $socket, $family, SOCK_STREAM, 0) or return;
  setsockopt($socket, SOL_SOCKET, $_, 1) for @$options;
  setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) if $family == AF_INET6;
  my $address = inet_pton($family, $host);
  bind($socket, $family == AF_INET6 ? pack_sockaddr_in6($port, $address) : pack_sockaddr_in($port, $address)) or return;
  if ($clears) { setsockopt($socket, SOL_SOCKET, $_, 0) for @$options; }
  return listen($socket, 5);
}
