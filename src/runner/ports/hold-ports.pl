# Holds ports until it is ended: binds them and never listens. Started by held-ports.ts in the directory of the process records.
# Reads lines "HOST PORT", prints "refused HOST PORT: REASON" for each port that it cannot hold, then "held".
#
# Node.js cannot do this: its sockets have SO_REUSEADDR, and beside such a socket another user may bind and listen, as long
# as that socket does not listen itself. Sockets that have SO_REUSEPORT alone keep all other users out, on every address that
# they cover, and let sockets of their own user in that have SO_REUSEPORT, too (net/ipv4/inet_connection_sock.c).
use strict;
use warnings;
use Socket qw(:DEFAULT SO_REUSEPORT IPPROTO_IPV6 IPV6_V6ONLY inet_pton pack_sockaddr_in6);

sub bound {
  my ($host, $port, $reuse) = @_;
  my $is_v6 = $host =~ /:/;
  my $family = $is_v6 ? AF_INET6 : AF_INET;
  my $address = inet_pton($family, $host) // return;
  socket(my $socket, $family, SOCK_STREAM, 0) or return;
  setsockopt($socket, SOL_SOCKET, SO_REUSEPORT, 1) or return;
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, $reuse) or return;
  setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 1) or return if $is_v6;
  bind($socket, $is_v6 ? pack_sockaddr_in6($port, $address) : pack_sockaddr_in($port, $address)) or return;
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 0) or return;
  return $socket;
}

my @sockets;

# Without SO_REUSEADDR a bind fails beside connections that workers, which are other users, have accepted on the port.
sub hold {
  my ($host, $port) = @_;
  my $socket = bound($host, $port, 0) // bound($host, $port, 1) // return 0;
  push @sockets, $socket;
  return 1;
}

while (my $line = <STDIN>) {
  my ($host, $port) = $line =~ /^(\S+) (\d+)$/ or next;
  # Binds all addresses, since "localhost" may be another one than HOST. If another program has one, binds the loopback ones singly.
  my %everywhere = (4 => hold('0.0.0.0', $port), 6 => hold('::', $port));
  for (['127.0.0.1', 4], ['::1', 6]) {
    my ($loopback, $version) = @$_;
    next if $everywhere{$version} or $loopback eq $host or hold($loopback, $port) or not $!{EADDRINUSE};
    print "refused $loopback $port: $!\n";
  }
  next if $everywhere{$host =~ /:/ ? 6 : 4} or hold($host, $port);
  print "refused $host $port: $!\n";
}
$| = 1;
print "held\n";
close STDIN;
close STDOUT;

# No runner would end a holder without a record.
sleep 3 while -e "$$.json";
