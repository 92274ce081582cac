#!/bin/sh
# Installs or upgrades Sluice on this machine: ./install.sh, or curl … | sudo sh. --dry-run lists the steps.
#
# Result: /opt/sluice (programs and install.log), /var/lib/sluice (state), the users sluice and sluice-git, units in
# /etc/systemd/system, /etc/sysctl.d/60-sluice.conf, /etc/ssh/sshd_config.d/sluice.conf, /usr/local/bin/sluice, and missing
# Debian packages. Nothing else in /usr or /etc changes. With domains, nginx has conf.d/sluice.conf, sluice/ and maybe
# sites-enabled/zzz-sluice.conf in /etc/nginx. The script stops if a user, a unit or a directory of another program has one of
# these names.
#
# Node.js and npm come from nodejs.org, or from the registry in NPM_CONFIG_REGISTRY. Downloads must have the checksums in
# config/runtime.sha256.
#
# Start reading at main, at the end: an incomplete download of this script runs nothing.
set -eu

# Source of Sluice if this script is piped into a shell without SLUICE_SOURCE: the URL of a .tar.gz. The publisher of the script
# fills it in.
published=''

root=/opt/sluice
home=/var/lib/sluice
log=$root/install.log
command=/usr/local/bin/sluice
users="sluice sluice-git"
units="sluice-runner.service sluice.service"
# Units that open the server's sockets. Stopping the first one stops the others. Earlier versions have only the first one, or none.
socket=sluice.socket
sockets="$socket sluice-local.socket sluice-push.socket"
# Units that configure nginx for domains, and the files that they write: see src/edge/apply.ts.
edge="sluice-edge.service sluice-edge.path"
nginx_main=/etc/nginx/conf.d/sluice.conf
nginx_last=/etc/nginx/sites-enabled/zzz-sluice.conf
# List of the Debian packages that this script has installed, for --uninstall.
packages=$root/packages
# Parts of a checkout that are installed.
parts="bin libexec src hooks config docs examples install.sh package.json package-lock.json .npmrc README.md CHANGELOG.md LICENSE"
# Variables of the caller that the installation uses. It drops all others.
passed="SLUICE_SOURCE SLUICE_SHA256 NPM_CONFIG_REGISTRY npm_config_registry http_proxy https_proxy no_proxy all_proxy HTTP_PROXY"
passed="$passed HTTPS_PROXY NO_PROXY ALL_PROXY NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR SSH_CONNECTION SUDO_USER TERM"

usage() {
  cat <<'TEXT'
Usage: install.sh [OPTION...]

Install or upgrade Sluice system-wide. Run it again at any time to repair the installation.

  --dry-run            list what would be done, and change nothing
  --yes                do not ask
  --domain NAME        serve the API and git over HTTPS at this host name, through nginx (installed if missing)
  --listen HOST:PORT   address of the HTTP API (default 127.0.0.1:8700)
  --rollback           return to the previous version
  --uninstall          stop all apps and remove Sluice; keep their files in /var/lib/sluice
  --uninstall --purge  remove these files and all users of Sluice, too
  --version            print the installed version and the version of the source
  --local [--stop]     run Sluice from this checkout without root and systemd; its state is in .sluice
  --help

SLUICE_SOURCE names what to install: a directory, a .tar.gz file or its URL. Default: the checkout of this script.
SLUICE_SHA256 is the checksum of such a file. http:// requires it.
NPM_CONFIG_REGISTRY names the npm registry to use.
TEXT
}

# ---- options and steps

parse_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) dry=yes ;;
      --yes | -y) ask=no ;;
      --listen) listen=${2-} && shift ;;
      --listen=*) listen=${1#*=} ;;
      --domain) domain=${2-} && shift ;;
      --domain=*) domain=${1#*=} ;;
      --rollback | --uninstall | --version) action=${1#--} ;;
      --purge) purge=yes ;;
      -h | --help) action=usage ;;
      *) wrong_usage "unknown option $1" ;;
    esac
    shift
  done
  [ $purge = no ] || [ "$action" = uninstall ] || wrong_usage "--purge requires --uninstall"
  [ -z "$listen" ] || echo "$listen" | grep -Eq '^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$' ||
    wrong_usage "--listen takes an address and a port, as in 0.0.0.0:8700 or [::]:8700"
}

install() {
  check_machine
  make_temporary "$(nearest "${root%/*}")"
  begin_log
  find_source
  [ -n "$installed" ] || confirm "This installs Sluice in $root, with its state in $home."
  install_packages
  get_source
  continue_with_other_script
  make_users
  make_directories
  install_version
  write_settings
  step "files" ""
  write_files
  start_or_switch
  remove_old_versions
  make_token
  publish
  print_next_steps
  [ -z "$unpublished" ] || fail "https://$unpublished is not served yet; everything else is done" "$remedy"
}

# ---- environment of the programs that this script starts

# Drops the caller's variables, except those in `passed`, and leaves its directory. Programs read code and settings from places
# that variables name (NODE_OPTIONS, HOME, TMPDIR ...), from the working directory, and from /tmp, where every user can write.
# A script that is piped into a shell cannot restart itself with `env -i`.
isolate() {
  export PATH=/usr/sbin:/usr/bin:/sbin:/bin
  for name in $(env -0 | tr '\n\0' ' \n' | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case " $passed PATH PWD " in *" $name "*) ;; *) unset "$name" ;; esac
  done
  export LC_ALL=C
  umask 022
  exec 3>&1 4>&2 5>&- 6>&- 7>&- 8>&- 9>&- </dev/null
  started=$(pwd -P) || started=/
  script=$(absolute "$0")
  SLUICE_SOURCE=${SLUICE_SOURCE:+$(absolute "$SLUICE_SOURCE")}
  cd /
}

# Prints a path or URL, relative to the directory where this script was started, as an absolute one.
absolute() {
  case $1 in
    /* | http://* | https://*) echo "$1" ;;
    *) echo "$started/$1" ;;
  esac
}

# Creates the directory for temporary files, which is also HOME. Only root can open it. A lock marks it as used.
make_temporary() {
  temporary=$(mktemp -d "$1/.sluice-install-XXXXXX")
  exec 8<"$temporary"
  flock -n 8
  export HOME="$temporary" TMPDIR="$temporary"
}

# Removes leftovers of killed runs.
sweep() {
  free_ports
  for left in "${root%/*}"/.sluice-install-* /run/.sluice-install-*; do
    [ ! -d "$left" ] || flock -n "$left" rm -rf "$left" || :
  done
  # Empty: see place_directory.
  for left in "${home%/*}"/.sluice-??????; do [ ! -d "$left" ] || rmdir "$left" || :; done
}

# ---- checks, which change nothing

check_machine() {
  step "checks" "See docs/install.md, \"Requirements\"."
  must_be_root
  [ -d /run/systemd/system ] || fail "this machine was not started by systemd" \
    "Sluice needs systemd. Without systemd, or in a container: ./install.sh --local"
  # shellcheck disable=SC1091
  system=$(. /etc/os-release && echo "$ID ${VERSION_ID-}")
  case $system in
    "debian 12"* | "debian 13"* | "debian " | "ubuntu 22.04" | "ubuntu 24.04" | "ubuntu 2"[5-9]*) ;;
    *) fail "unsupported system: $system (expected Debian 12 or 13, or Ubuntu 22.04 or later)" "./install.sh --local works on other systems." ;;
  esac
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "unsupported processor: $(uname -m)" "x86_64 and aarch64 are supported." ;;
  esac
  installed=$(readlink "$root/current" || :)
  if [ -z "$installed" ]; then
    check_space "$root" 1024
    check_space "$home" 256
  else
    check_space "$root" 512
    check_space "$home" 16
  fi
  memory=$(memory_mb)
  [ "$memory" -ge 400 ] || fail "this machine has $memory MB of memory, and Sluice needs 400 MB" "Use a larger machine."
  check_names
  check_ports
}

# @param directory, required free space in MB
check_space() {
  there=$(nearest "$1")
  # For root, only a file system that is mounted read-only is not writable.
  [ -w "$there" ] || fail "$there cannot be written: $(file_system "$there") is mounted read-only"
  free=$(df -Pm "$there" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$2" ] || fail "$1 needs $2 MB, and $(file_system "$there") has $free MB free" \
    "Free some space, then run this again."
}

file_system() {
  df -P "$1" | awk 'NR == 2 { print "the file system of " $6 }'
}

# Stops if something else has one of Sluice's names, so that the installation changes and removes nothing else.
check_names() {
  for user in $users; do
    if getent passwd "$user" >/dev/null; then
      is_our_user "$user" || fail "the user $user is not Sluice's: $(getent passwd "$user")" \
        "Sluice needs this name. Rename that user (usermod --login NEW $user; groupmod --new-name NEW $user), or remove it."
    elif getent group "$user" >/dev/null; then
      fail "the group $user is not Sluice's: $(getent group "$user")" \
        "Sluice needs this name. Rename that group: groupmod --new-name NEW $user"
    fi
  done
  [ ! -d "$home" ] || is_our_home || fail "the directory $home, of the user $(stat -c %U "$home"), is not Sluice's" \
    "Sluice needs this path: move the directory to another one."
  # Every run of this script begins a log.
  [ -z "$(ls -A "$root" 2>/dev/null | grep -vx lost+found)" ] || [ -f "$log" ] || fail "the directory $root is not Sluice's" \
    "Sluice needs this path: move the directory to another one."
  for unit in $units $sockets $edge; do
    file=$(systemctl show --property FragmentPath --value "$unit" 2>/dev/null) || file=
    [ -z "$file" ] || [ ! -f "$file" ] || grep -q '^Description=Sluice' "$file" ||
      fail "the unit $unit is not Sluice's: $file" "Sluice needs this name: rename that unit."
  done
}

# Stops if another program uses one of Sluice's ports. nginx may use ports 80 and 443.
check_ports() {
  port=${listen##*:}
  port=${port:-$(configured port)}
  holder=
  # A running Sluice uses the configured port itself.
  if [ "$port" != "$(configured port)" ] || ! systemctl is-active --quiet sluice.service $socket; then holder=$(holder "$port"); fi
  [ -z "$holder" ] || fail "port $port of the API is in use by $holder" \
    "Stop that program, or choose another port: --listen 127.0.0.1:8701"
  [ -n "$domain" ] || return 0
  for port in 80 443; do
    holder=$(holder $port)
    case $holder in
      "" | "nginx (process "*) ;;
      *) fail "port $port, which nginx needs for https://$domain, is in use by $holder" \
        "Stop that program, or run this without --domain and let that program forward requests to the API: docs/domains.md" ;;
    esac
  done
}

must_be_root() {
  [ "$(id -u)" = 0 ] || fail "this script needs root" "sudo ./install.sh, or curl … | sudo sh"
}

# Prints the nearest existing directory, upwards.
nearest() {
  if [ -d "$1" ]; then echo "$1"; else nearest "$(dirname "$1")"; fi
}

# Prints the memory of the machine, or of its cgroup if that has less.
memory_mb() {
  {
    awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo
    cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || :
  } | grep -v max | sort -n | awk 'NR == 1 { print int($1 / 1048576) }'
}

# Prints the program that listens on a TCP port, or nothing. Small images have no ss.
holder() {
  inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && $2 ~ port "$" { print $10; exit }')
  [ -n "$inode" ] || return 0
  pid=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | cut -d / -f 3 | sort -n | head -n 1)
  if [ -n "$pid" ]; then echo "$(cat "/proc/$pid/comm") (process $pid)"; else echo "another program"; fi
}

# ---- source

# Prints the checkout that contains this script, if there is one.
own_checkout() {
  case $script in
    */install.sh) ;;
    *) return 0 ;;
  esac
  directory=$(cd "$(dirname "$script")" && pwd -P)
  [ ! -f "$directory/src/server/unit.ts" ] || echo "$directory"
}

find_source() {
  given=${SLUICE_SOURCE:-$(own_checkout)}
  given=${given:-$published}
  [ -n "$given" ] || fail "no source to install from" \
    "Set SLUICE_SOURCE to a directory, a .tar.gz file or its URL, or run install.sh in a checkout."
  case $given in
    http://*) [ -n "${SLUICE_SHA256-}" ] || fail "$given is unencrypted, so anybody on the way could change a program that runs as root" \
      "Use https://, or set SLUICE_SHA256 to its checksum." ;;
  esac
}

# Sets source (a directory), version (from package.json) and name (of the directory to install to). A tree that differs from an
# installed one of the same version gets another name, because each switch needs another directory.
get_source() {
  step "source: $given" "SLUICE_SOURCE names a directory, a .tar.gz file or its URL."
  archive=$temporary/sluice.tar.gz
  case $given in
    http://* | https://*) download "$given" "$archive" ;;
    *) if [ -f "$given" ]; then cp "$given" "$archive"; fi ;;
  esac
  source=$given
  if [ -f "$archive" ]; then
    [ -z "${SLUICE_SHA256-}" ] || echo "$SLUICE_SHA256  $archive" | sha256sum --check --quiet ||
      fail "the checksum of $given differs from SLUICE_SHA256" "Nothing was unpacked. The checksum is $(checksum "$archive")."
    mkdir "$temporary/unpacked"
    tar -xzf "$archive" -C "$temporary/unpacked" --no-same-owner
    source=$(dirname "$(find "$temporary/unpacked" -maxdepth 2 -name package.json | head -n 1)")
  elif [ -n "${SLUICE_SHA256-}" ]; then
    fail "SLUICE_SHA256 requires a .tar.gz file, and $given is not one"
  fi
  [ -e "$source" ] || fail "$given does not exist"
  [ -f "$source/src/server/unit.ts" ] || fail "$given does not contain a Sluice that can be installed system-wide"
  source=$(cd "$source" && pwd -P)
  name_version
  report "  version $name"
}

checksum() {
  sha256sum "$1" | cut -d ' ' -f 1
}

# Lets the install.sh of another version continue: it knows best how to install that version.
continue_with_other_script() {
  ! cmp -s "$source/install.sh" "$script" || return 0
  # A version without some sockets cannot remove them, so this script installs that version.
  for unit in $(present_sockets); do [ -e "$source/config/systemd/$unit" ] || return 0; done
  report "  continues with its own install.sh"
  set -- --yes
  [ $dry = no ] || set -- "$@" --dry-run
  [ -z "$listen" ] || set -- "$@" --listen "$listen"
  [ -z "$domain" ] || set -- "$@" --domain "$domain"
  # That script writes the log, too.
  exec 9>&-
  status=0
  SLUICE_SHA256='' SLUICE_SOURCE=$source sh "$source/install.sh" "$@" >&3 2>&4 3>&- 4>&- || status=$?
  trap - EXIT
  rm -rf "$temporary"
  exit $status
}

name_version() {
  version=$(sed -n 's/^  "version": "\([^"]*\)".*/\1/p' "$source/package.json")
  fingerprint=$(fingerprint "$source")
  name=$version
  [ ! -d "$root/$name" ] || [ "$(fingerprint "$root/$name")" = "$fingerprint" ] || name=$version+$fingerprint
}

fingerprint() {
  (cd "$1" && find $parts -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -c 1-8)
}

download() {
  if command -v curl >/dev/null; then curl -fsSL --retry 3 --connect-timeout 20 -o "$2" "$1"
  else wget -nv --tries 3 --timeout 20 -O "$2" "$1"; fi
}

# ---- packages, users, directories

install_packages() {
  step "packages" ""
  missing=
  for package in git libatomic1 ca-certificates; do has_package $package || missing="$missing $package"; done
  command -v curl >/dev/null || command -v wget >/dev/null || missing="$missing curl"
  [ -z "$domain" ] || command -v nginx >/dev/null || missing="$missing nginx"
  [ -z "$missing" ] || change "installs$missing" apt_install $missing
}

has_package() {
  dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

apt_install() {
  printf '%s\n' "$@" >>"$packages"
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  # apt checks signatures as the user _apt, and needs a temporary directory of that user: /tmp may be full.
  of_apt=$(mktemp -d "${temporary%/*}/.sluice-install-XXXXXX")
  chown _apt: "$of_apt"
  # `apt-get update` also fails because of a package source that Sluice does not need.
  TMPDIR=$of_apt apt-get update || report "  apt-get update failed; continues with the existing package lists"
  rm -rf "$of_apt"
  # A new machine installs its own updates in its first minutes.
  apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=180 "$@"
}

# Prints comment, home and shell of one of Sluice's users, as in /etc/passwd.
fields_of() {
  case $1 in
    sluice) echo "Sluice server:$home:/usr/sbin/nologin" ;;
    sluice-git) echo "Sluice pushes:$home/ssh:/bin/sh" ;;
  esac
}

# Older versions created users without a comment. Then directories in the home identify the user.
is_our_user() {
  fields=$(getent passwd "$1" | cut -d : -f 5-)
  expected=$(fields_of "$1")
  [ -n "$fields" ] || return 1
  [ "$fields" = "$expected" ] || { [ "$fields" = ":${expected#*:}" ] && [ -d "$home/apps" ] && [ -d "$home/ssh" ]; }
}

# UNKNOWN means that the user was removed, and the directory was not.
is_our_home() {
  case $(stat -c %U "$home") in
    sluice) is_our_user sluice ;;
    UNKNOWN) [ -f "$home/config.json" ] ;;
    root) is_empty_disk ;;
    *) return 1 ;;
  esac
}

# Succeeds if the home is an empty directory of root, such as a mounted disk.
is_empty_disk() {
  [ -d "$home" ] && [ "$(stat -c %U "$home")" = root ] && [ -z "$(find "$home" -mindepth 1 ! -path "$home/lost+found*")" ]
}

make_users() {
  step "users" ""
  for user in $users; do make_user "$user"; done
  # sshd accepts no key for a locked account ("!"). "*" disables the password without locking the account.
  case $(getent shadow sluice-git) in
    sluice-git:\*:*) ;;
    *) change "sluice-git: no password" usermod --password '*' sluice-git ;;
  esac
}

make_user() {
  fields=$(fields_of "$1")
  place=${fields#*:}
  comment=${fields%%:*}
  if ! getent passwd "$1" >/dev/null; then
    change "user $1" useradd --system --user-group --no-create-home --comment "$comment" --home-dir "${place%:*}" \
      --shell "${place#*:}" "$1"
  elif [ "$(getent passwd "$1" | cut -d : -f 5)" != "$comment" ]; then
    change "user $1: comment" usermod --comment "$comment" "$1"
  fi
}

make_directories() {
  step "directories" ""
  # Mode 711 lets apps pass through to their own directories and list nothing. New files in ssh get the group sluice-git.
  ! is_empty_disk || change "$home: owner sluice" give_directory 711 sluice:sluice "$home"
  make_directory 711 sluice:sluice "$home"
  make_directory 711 sluice:sluice "$home/run"
  make_directory 711 sluice:sluice "$home/apps"
  make_directory 2750 sluice:sluice-git "$home/ssh"
}

make_directory() {
  [ -d "$3" ] || change "$3" place_directory "$@"
}

# Creates a directory outside of the home and moves it in. The home belongs to the server, and root must not follow a link in it.
place_directory() {
  made=$(mktemp -d "$(dirname "$home")/.sluice-XXXXXX")
  give_directory "$1" "$2" "$made"
  mv -T "$made" "$3"
}

give_directory() {
  chown "$2" "$3"
  chmod "$1" "$3"
}

# Runs a command as the server's user, without the terminal, variables and open files of root.
as_server() {
  setsid --wait setpriv --reuid sluice --regid sluice --clear-groups --no-new-privs \
    env -i PATH="$PATH" HOME="$home" TMPDIR="$home" LC_ALL=C "$@" 3>&- 4>&- 8<&- 9>&-
}

# ---- installation of a version

install_version() {
  for left in "$root"/.new-*; do
    [ ! -d "$left" ] || change "removes $left of an unfinished run" rm -rf "$left"
  done
  [ ! -d "$root/$name" ] || return 0
  new=$root/.new-$$
  step "runtime" "Node.js comes from nodejs.org, or from the npm registry that NPM_CONFIG_REGISTRY names."
  change "$root/$name/runtime: Node.js $(pinned node), npm $(pinned npm)" install_runtime
  step "sluice $name" ""
  change "$root/$name" copy_tree
  step "npm packages" "NPM_CONFIG_REGISTRY names the npm registry."
  change "$root/$name/node_modules" install_npm_packages
  step "compile" ""
  change "$root/$name/cache" finish_version
}

# Prints the version of node or npm in config/runtime.sha256.
pinned() {
  case $1 in
    node) sed -n 's/.* node-v\(.*\)-linux-x64.tar.gz$/\1/p' "$source/config/runtime.sha256" ;;
    npm) sed -n 's/.* npm-\(.*\).tgz$/\1/p' "$source/config/runtime.sha256" ;;
  esac
}

install_runtime() {
  runtime=$new/runtime
  mkdir -p "$runtime/bin" "$runtime/lib/node_modules/npm"
  if [ -n "$installed" ] && cmp -s "$source/config/runtime.sha256" "$root/$installed/config/runtime.sha256"; then
    cp -a "$root/$installed/runtime" "$new/"
    return
  fi
  registry=${NPM_CONFIG_REGISTRY:-${npm_config_registry:-}}
  registry=${registry%/}
  node_version=$(pinned node)
  if [ -n "$registry" ]; then
    file=node-linux-$arch-$node_version.tgz
    download_pinned "$registry/node-linux-$arch/-/$file" "$file"
    tar -xzf "$temporary/$file" -C "$runtime" --no-same-owner --strip-components=1 package/bin/node package/include
    file=npm-$(pinned npm).tgz
    download_pinned "$registry/npm/-/$file" "$file"
    tar -xzf "$temporary/$file" -C "$runtime/lib/node_modules/npm" --no-same-owner --strip-components=1
  else
    tree=node-v$node_version-linux-$arch
    download_pinned "https://nodejs.org/dist/v$node_version/$tree.tar.gz" "$tree.tar.gz"
    tar -xzf "$temporary/$tree.tar.gz" -C "$runtime" --no-same-owner --strip-components=1 \
      "$tree/bin/node" "$tree/include" "$tree/lib/node_modules/npm"
  fi
  for program in npm npx; do ln -sf "../lib/node_modules/npm/bin/$program-cli.js" "$runtime/bin/$program"; done
  "$runtime/bin/node" --version
}

# Downloads a file, and verifies its checksum.
download_pinned() {
  download "$1" "$temporary/$2"
  grep " $2\$" "$source/config/runtime.sha256" >"$temporary/sum"
  (cd "$temporary" && sha256sum -c sum) ||
    fail "the checksum of $1 differs from config/runtime.sha256" \
      "The file was not used. Perhaps another server answered, such as a proxy that requires a login."
}

copy_tree() {
  for part in $parts; do [ ! -e "$source/$part" ] || cp -R "$source/$part" "$new/"; done
}

# Runs no scripts of packages, because npm runs as root.
install_npm_packages() {
  cd "$new"
  NODE_DISABLE_COMPILE_CACHE=1 npm_config_cache=$temporary/npm runtime/bin/node runtime/lib/node_modules/npm/bin/npm-cli.js ci \
    --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
  cd /
}

# Renames the complete version, then compiles the modules of server and runner into caches that nobody else can write.
finish_version() {
  chown -R 0:0 "$new"
  chmod -R u=rwX,go=rX "$new"
  sync -f "$new"
  mv "$new" "$root/$name"
  tree=$root/$name
  mkdir -p "$tree/cache/runner" "$tree/cache/server"
  chown sluice:sluice "$tree/cache/server"
  compile="$tree/runtime/bin/node --max-semi-space-size=1 $tree/src/server/warm.ts"
  if NODE_COMPILE_CACHE=$tree/cache/runner $compile && as_server NODE_COMPILE_CACHE="$tree/cache/server" $compile; then return; fi
  rm -rf "$tree"
  fail "$name cannot be loaded; the running version was not changed"
}

# ---- settings and files

write_settings() {
  step "settings" ""
  [ -z "$listen" ] || [ "$listen" != "$(configured host):$(configured port)" ] || listen=
  if [ ! -f "$home/config.json" ] || [ -n "$listen" ]; then change "$home/config.json" merge_settings; fi
  environment=$(env | grep -Ei '^(npm_config_registry|https?_proxy|no_proxy|node_extra_ca_certs)=') || :
  [ -z "$environment" ] || [ -e "$home/environment" ] ||
    change "$home/environment: $(echo "$environment" | sed 's/=.*//' | tr '\n' ' ')" write_environment
  case ${listen:-127.} in
    127.* | "[::1]"*) ;;
    *) report "  The API will listen on $listen without encryption, so others can read tokens. Use a TLS proxy." ;;
  esac
}

# Prints the port or the host of the API's address in the settings. Root uses the result, and the server's user can write the
# settings. So anything but a port or a numeric address becomes "unusable".
configured() {
  set -- "$1" "$([ ! -f "$home/config.json" ] || as_server cat "$home/config.json" 2>/dev/null | tr -d '[:space:]' |
    sed -n 's/.*"listen":{[^}]*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p')"
  case $1:$2 in
    port:) echo 8700 ;;
    host:) echo 127.0.0.1 ;;
    port:*[!0-9]* | port:??????* | host:*[!0-9a-fA-F.:]*) echo unusable ;;
    host:*:*) printf '[%s]\n' "$2" ;;
    *) printf '%s\n' "$2" ;;
  esac
}

merge_settings() {
  # shellcheck disable=SC2016 # JavaScript
  status=0
  as_server "$root/$name/runtime/bin/node" -e '
    const fs = require("node:fs");
    const [path, listen] = process.argv.slice(1);
    const there = fs.existsSync(path);
    const text = there ? fs.readFileSync(path, "utf8") : `{ "ssh": { "user": "sluice-git" } }`;
    let settings;
    try {
      settings = JSON.parse(text);
    } catch (error) {
      console.log(error.message);
      process.exit(3);
    }
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(listen) ?? [];
    if (host !== undefined) settings.listen = { ...settings.listen, host, port: Number(port) };
    fs.writeFileSync(`${path}.new`, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o640 });
    fs.renameSync(`${path}.new`, path);
  ' "$home/config.json" "$listen" || status=$?
  [ $status != 3 ] || fail "$home/config.json is not JSON" "docs/settings.md describes it."
  [ $status = 0 ] || return $status
  settings_changed=yes
}

# Stores the caller's registry and proxy for builds.
write_environment() {
  # shellcheck disable=SC2016 # expanded there
  echo "$environment" | as_server sh -c 'umask 077 && cat >"$1"' sh "$home/environment"
  settings_changed=yes
}

write_files() {
  write_file config/sysctl.conf /etc/sysctl.d/60-sluice.conf apply_sysctl
  if command -v sshd >/dev/null; then
    write_file config/sshd.conf /etc/ssh/sshd_config.d/sluice.conf reload_sshd
  else
    report "  sshd is not installed. For pushes over ssh: apt install openssh-server, then run this again."
  fi
  for unit in $units $edge; do
    write_file "config/systemd/$unit" "/etc/systemd/system/$unit" systemctl daemon-reload
  done
  for each in $sockets; do write_socket "$each"; done
  systemctl is-enabled --quiet $units sluice-edge.path 2>/dev/null ||
    change "starts the units at boot" systemctl enable $units sluice-edge.path
  write_command
}

# Creates the link to the command, unless another program has that path, or the directory is read-only.
write_command() {
  if is_our_command; then return; fi
  if [ -e "$command" ] || [ -L "$command" ]; then
    report "  $command belongs to another program. Sluice's command is $root/current/bin/sluice."
  elif [ ! -w "$(nearest "$command")" ]; then
    report "  $command cannot be created: $(file_system "$(nearest "$command")") is mounted read-only. The command is $root/current/bin/sluice."
  else
    change "$command" link "$root/current/bin/sluice" "$command"
  fi
}

is_our_command() {
  [ "$(readlink "$command")" = "$root/current/bin/sluice" ]
}

# Writes a file if it is missing or differs, then runs the command that applies it.
write_file() {
  cmp -s "$source/$1" "$2" || change "$2" place_file "$@"
}

place_file() {
  mkdir -p "$(dirname "$2")"
  cp "$source/$1" "$2.new"
  chmod 644 "$2.new"
  mv "$2.new" "$2"
  shift 2
  "$@"
}

# Writes a unit of the server's sockets, with the API's address in config.json. Earlier versions open these sockets themselves.
write_socket() {
  unit=/etc/systemd/system/$1
  if [ ! -f "$source/config/systemd/$1" ]; then
    [ ! -e "$unit" ] || change "removes $unit, which this version does not use" remove_socket "$1"
    return
  fi
  address=$(configured host):$(configured port)
  case $address in
    *unusable*) fail "\"listen\" in $home/config.json is not a numeric address and a port" "docs/settings.md describes it." ;;
  esac
  sed "s/^ListenStream=127.*/ListenStream=$address/" "$source/config/systemd/$1" >"$temporary/$1"
  [ "$1" = $socket ] || address=$(sed -n 's/^ListenStream=//p' "$temporary/$1")
  cmp -s "$temporary/$1" "$unit" || change "$unit: $address" place_socket "$temporary/$1"
}

# Leaves the former sockets open, because the server uses them: `activate` opens the new ones.
place_socket() {
  cp "$1" "$unit.new"
  chmod 644 "$unit.new"
  mv "$unit.new" "$unit"
  systemctl daemon-reload
  socket_changed=yes
}

remove_socket() {
  [ "$1" != $socket ] || systemctl disable $socket
  systemctl stop "$1" sluice.service
  rm -f "$unit"
  systemctl daemon-reload
}

apply_sysctl() {
  /usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-sluice.conf || report "  The kernel rejected the settings: see \`sluice doctor\`."
}

reload_sshd() {
  mkdir -p -m 755 /run/sshd
  if ! sshd -t; then
    rm -f /etc/ssh/sshd_config.d/sluice.conf
    fail "sshd rejects its configuration with sluice.conf, which was removed again" "The message of sshd is above."
  fi
  systemctl try-reload-or-restart ssh
  # Without the usual Include in sshd_config, or with AllowUsers, nobody could push.
  seen=$(sshd -T -C user=sluice-git,host=localhost,addr=127.0.0.1 | grep -E '^(authorizedkeyscommand|allowusers) ')
  case $seen in
    *allowusers*) report "  sshd_config has AllowUsers: add sluice-git to it, for pushes over ssh." ;;
    *"$home/ssh/authorized_keys"*) ;;
    *) report "  sshd_config does not read sshd_config.d: add \`Include /etc/ssh/sshd_config.d/*.conf\` to it, for pushes over ssh." ;;
  esac
}

# Replaces a link in one step.
link() {
  mkdir -p "$(dirname "$2")"
  ln -sfn "$1" "$2.new"
  mv -T "$2.new" "$2"
}

# ---- start, switch, rollback

start_or_switch() {
  step "start" "\`journalctl -u sluice-runner -u sluice\` shows the log."
  systemctl is-active --quiet sluice-edge.path || change "starts sluice-edge.path" systemctl start sluice-edge.path
  if [ -z "$installed" ]; then
    change "starts $name" start_first
  elif [ "$installed" != "$name" ]; then
    change "switches from $installed to $name; apps keep running" switch_version
  elif ! runs "$name" || [ $socket_changed = yes ] || ! has_sockets; then
    change "starts $name, which does not run properly; apps keep running" activate "$name"
  elif [ $settings_changed = yes ]; then
    change "restarts sluice.service; apps keep running" systemctl restart sluice.service
  fi
}

start_first() {
  if activate "$name"; then return; fi
  show_journal
  fail "Sluice does not start"
}

show_journal() {
  journalctl --no-pager --output cat --lines 12 --identifier sluice --identifier sluice-runner
}

switch_version() {
  if activate "$name"; then
    link "$installed" "$root/previous"
    # Otherwise nginx would keep the configuration of the old version until a domain or a certificate changes.
    [ ! -e $nginx_main ] || systemctl start sluice-edge.service ||
      report "  nginx still has the configuration of $installed: see \`sluice doctor\`."
    return
  fi
  show_journal
  report "  $name does not start: returns to $installed"
  source=$root/$installed
  write_files
  activate "$installed" || fail "neither $name nor $installed starts; apps keep running"
  fail "$name does not start; $installed runs again, and apps kept running"
}

# Switches to a version. The runner leaves its apps to the next runner, which systemd starts. The server is stopped meanwhile, so
# that both always have the same version.
activate() {
  link "$1" "$root/current" || return
  systemctl reset-failed $units 2>/dev/null || :
  # A request starts the server, which waits for this lock: see libexec/unit.
  (umask 077 && : >>"$root/switch.lock")
  # Only root and the server may open the lock, because each process that has it open can lock it.
  chgrp sluice "$root/switch.lock" && chmod 640 "$root/switch.lock" || return
  exec 7>"$root/switch.lock"
  flock -w 60 7 || return
  open_sockets || return
  systemctl stop sluice.service || return
  runner=$(main_pid sluice-runner.service)
  if [ "$runner" != 0 ]; then
    kill -USR2 "$runner" || return
    wait_until ended "$runner" || return
  fi
  end_holders
  systemctl start sluice-runner.service || return
  exec 7>&-
  systemctl start sluice.service && wait_until runs "$1"
}

# Opens the server's sockets if they are new or have changed. systemd opens no socket while the server runs, and the server of an
# earlier version uses the port itself. So the port is free for a moment, in which only root can bind it.
open_sockets() {
  [ -e "/etc/systemd/system/$socket" ] || return 0
  systemctl is-enabled --quiet $socket 2>/dev/null || systemctl enable $socket || return
  [ $socket_changed = yes ] || ! are_open || return 0
  socket_changed=no
  port=$(configured port)
  if [ "$(cat $first_unprivileged || echo 65535)" -le "$port" ]; then
    cp $first_unprivileged $kept_unprivileged
    echo $((port + 1)) >$first_unprivileged || :
  fi
  is_open=yes
  systemctl stop $socket sluice.service && systemctl start $(present_sockets) || is_open=no
  free_ports
  [ $is_open = yes ]
}

# Lowest port that other users than root may bind. A file stores the old value for the next run, in case this run is killed.
first_unprivileged=/proc/sys/net/ipv4/ip_unprivileged_port_start
kept_unprivileged=/run/sluice-first-unprivileged-port

free_ports() {
  [ -f $kept_unprivileged ] || return 0
  cat $kept_unprivileged >$first_unprivileged || :
  rm -f $kept_unprivileged
}

# Prints the process that listens on the API's port.
listener() {
  holder "$(configured port)" | sed -n 's/.* (process \([0-9]*\))$/\1/p'
}

# Ends the port holders and removes nginx's second file before a version without them starts: that version would wait forever for
# the ports.
end_holders() {
  [ ! -e "/etc/systemd/system/$socket" ] || return 0
  for pid in $(processes_of root); do
    case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
      "/usr/bin/perl $root/"*"/src/runner/"*"hold-ports.pl ") kill -KILL "$pid" ;;
    esac
  done 2>/dev/null
  ! is_ours "$nginx_last" || rm -f "$nginx_last"
}

has_sockets() {
  [ ! -e "/etc/systemd/system/$socket" ] || { are_open && systemctl is-enabled --quiet $socket; }
}

# Prints the units of the server's sockets that this machine has.
present_sockets() {
  for unit in $sockets; do [ ! -e "/etc/systemd/system/$unit" ] || echo "$unit"; done
}

# Succeeds if systemd has opened the server's sockets.
are_open() {
  for unit in $(present_sockets); do systemctl is-active --quiet "$unit" || return 1; done
}

main_pid() {
  systemctl show --property MainPID --value "$1"
}

ended() {
  [ "$(main_pid sluice-runner.service)" != "$1" ]
}

# Succeeds if server and runner answer and have this version. This call starts a server that rests.
runs() {
  timeout 30 "$root/current/bin/sluice" status --json >/dev/null 2>&1 || return 1
  for unit in $units; do
    [ "$(readlink "/proc/$(main_pid "$unit")/exe")" = "$root/$1/runtime/bin/node" ] || return 1
  done
}

# Waits for a command to succeed: 150 tries (about half a minute), or two minutes if the tries are slow.
wait_until() {
  tries=0 latest=$(($(cut -d . -f 1 /proc/uptime) + 120))
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] && [ "$(cut -d . -f 1 /proc/uptime)" -lt $latest ] || return 1
    sleep 0.2
  done
}

rollback() {
  must_be_root
  installed=$(readlink "$root/current" || :)
  name=$(readlink "$root/previous" || :)
  [ -n "$name" ] && [ -d "$root/$name" ] || fail "no previous version is installed" "ls -l $root"
  make_temporary /run
  begin_log
  source=$root/$name
  step "files" ""
  write_files
  start_or_switch
  report "Sluice $name runs. To return to $installed: $root/$installed/install.sh --rollback"
}

# Keeps the previous version, for --rollback and for files that its apps have open.
remove_old_versions() {
  [ $dry = no ] || return 0
  kept=" $name $(readlink "$root/previous" || :) "
  for tree in "$root"/*/; do
    tree=${tree%/}
    case $kept in *" ${tree##*/} "*) continue ;; esac
    [ -L "$tree" ] || change "removes $tree" rm -rf "$tree"
  done
}

# ---- next steps

make_token() {
  [ ! -f "$home/tokens.json" ] || return 0
  step "token" ""
  change "a token for uploads: \`laptop\`" create_token
}

create_token() {
  token=$("$root/current/bin/sluice" token create laptop)
}

# Serves the API at its domain. A failure is reported at the end, after the token.
publish() {
  [ -n "$domain" ] || return 0
  step "domain" "Fix the cause, then run: $(command_name) domains add --api $domain"
  if [ $dry = no ] && "$root/current/bin/sluice" domains list --json | grep -Fq "\"$domain\""; then return; fi
  change "https://$domain" "$root/current/bin/sluice" domains add --api "$domain" || unpublished=$domain
  [ -z "$unpublished" ] || domain=
}

print_next_steps() {
  if [ $dry = yes ]; then
    report "Nothing was changed."
  elif [ $changed = no ]; then
    report "Sluice $name is up to date."
  elif [ -z "$token" ]; then
    report "Sluice $name runs."
  else
    show_next_steps >&3
  fi
}

# Prints commands for the shell of a laptop, which reads the key there.
show_next_steps() {
  # The token is shown only once, so a failure here must not prevent that.
  address=$("$root/current/runtime/bin/node" "$root/current/src/cli/reached-address.ts") || address=
  ssh_port=${address##* } address=${address% *}
  [ -n "$address" ] || address=HOST ssh_port=22
  login=root option= pushes=$address
  key="$(command_name) keys add laptop '\$(cat ~/.ssh/id_ed25519.pub)'"
  # `ssh -t`, because sudo asks for its password on a terminal.
  case ${SUDO_USER:-root} in root) ;; *) login=$SUDO_USER option=" -t" key="sudo $key" ;; esac
  case $address in *:*) pushes="[$address]" ;; esac
  [ "$ssh_port" = 22 ] || option="$option -p $ssh_port" pushes=$pushes:$ssh_port
  if command -v sshd >/dev/null; then
    cat <<TEXT

Sluice $name runs. Next, on your laptop, in the git repository of an app (choose a NAME):

  ssh$option $login@$address "$key"
  git remote add deploy ssh://sluice-git@$pushes/NAME
  git push deploy main

TEXT
    [ "$address" = HOST ] || echo "Replace $address if you reach this server by another name or address. Without git:"
  else
    printf '\nSluice %s runs. Next, in the directory of an app (choose a NAME):\n' "$name"
  fi
  show_upload
  echo
  echo "The token is shown only once. On this machine: $(command_name) status, $(command_name) doctor, $(command_name) --help."
}

# Prints the command for an upload without git.
show_upload() {
  port=$(configured port) host=$(configured host) tunnel= api=
  case $host in
    127.* | "[::1]") api=http://$host:$port tunnel="ssh -fNL $port:$host:$port${option# -t} $login@$address" ;;
    0.0.0.0 | "[::]") api=http://${pushes%":$ssh_port"}:$port ;;
    *) api=http://$host:$port ;;
  esac
  [ -z "$domain" ] || api=https://$domain tunnel=
  echo
  [ -z "$tunnel" ] || ! command -v sshd >/dev/null || echo "  $tunnel"
  echo "  tar -cz --exclude node_modules --exclude .git . | curl -sS --data-binary @- -H \"Accept: text/plain\" -H \"Authorization: Bearer $token\" $api/v1/apps/NAME/releases"
}

# Prints the name or the path of the command.
command_name() {
  if is_our_command; then echo sluice; else echo "$root/current/bin/sluice"; fi
}

show_versions() {
  report "installed: $(readlink "$root/current" || echo nothing)"
  given=${SLUICE_SOURCE:-$(own_checkout)}
  if [ -d "$given" ]; then
    source=$given
    name_version
    report "in $given: $name"
  fi
}

# ---- uninstall

uninstall() {
  must_be_root
  if [ $purge = yes ] && [ $ask = yes ] && [ $dry = no ] && ! has_terminal; then
    fail "--purge removes the files of all apps, and needs a confirmation" "Without a terminal, confirm with --yes."
  fi
  if [ $purge = yes ]; then confirm "This stops all apps, and removes Sluice and all data of the apps for good."
  else confirm "This stops all apps and removes Sluice. Its state and the data of the apps stay in $home."; fi
  # Not in $root, which is removed, and not beside it, where the disk may be full.
  make_temporary /run
  log=$temporary/uninstall.log
  if [ $dry = no ]; then
    exec >"$log" 2>&1
    logging=yes
  fi
  step "stop" "\`systemctl status sluice sluice-runner\` shows details."
  for unit in sluice-edge.path $socket sluice.service sluice-runner.service; do
    ! is_ours "/etc/systemd/system/$unit" || change "stops $unit" stop_unit "$unit"
  done
  step "remove" ""
  installed_packages=
  if [ -f "$packages" ]; then
    for package in $(sort -u "$packages"); do ! has_package "$package" || installed_packages="$installed_packages $package"; done
  fi
  # List all before removing any: is_ours recognizes the certificates by the configuration beside them.
  ours=
  for path in $(printf '/etc/systemd/system/%s ' $units $sockets $edge) /etc/ssh/sshd_config.d/sluice.conf \
    /etc/sysctl.d/60-sluice.conf /etc/nginx/sluice "$nginx_main" "$nginx_last" /run/sluice "$root" "$(runner_lock)"; do
    if is_ours "$path"; then ours="$ours $path"
    elif [ -e "$path" ] || [ -L "$path" ]; then report "  $path is not Sluice's and stays"; fi
  done
  for path in $ours; do change "$path" rm -rf "$path"; done
  ! is_our_command || change "$command" rm -f "$command"
  [ $dry = yes ] || sweep
  change "reloads systemd, sshd, nginx and the kernel settings" forget
  [ $purge = no ] || purge
  if [ $dry = yes ]; then
    report "Nothing was changed."
    return
  fi
  report "Sluice is removed."
  [ -z "$installed_packages" ] ||
    report "The Debian packages that Sluice installed are still there. To remove them: apt-get purge --autoremove$installed_packages"
  [ $purge = yes ] || report "$home and the users sluice, sluice-git and sluice_* stay: --uninstall --purge removes them."
}

# Succeeds if a file or directory with one of Sluice's names is Sluice's.
is_ours() {
  case $1 in
    "$root") [ -f "$root/install.log" ] ;;
    /run/sluice) [ -d "$1" ] && [ -z "$(ls -A "$1" | grep -Evx '(api|server|push)\.sock')" ] ;;
    /run/sluice-runner-*) [ -f "$1" ] ;;
    /etc/nginx/sluice) [ -d "$1" ] && { is_ours "$nginx_main" || is_ours "$nginx_last"; } ;;
    /etc/systemd/*) grep -qs '^Description=Sluice' "$1" ;;
    /etc/nginx/*) grep -qs '^# Written by Sluice' "$1" ;;
    *) grep -qs '^# Sluice: ' "$1" ;;
  esac
}

# Prints the path of the runner's lock, as src/runner/users/host.ts makes it.
runner_lock() {
  printf '/run/sluice-runner-%s.lock' "$(printf %s "$(readlink -f "$home")" | sha256sum | cut -c 1-12)"
}

# Disables and stops a unit, then kills processes that a dead runner has left.
stop_unit() {
  systemctl disable --now "$1"
  ! systemctl kill --kill-who=all --signal=KILL "$1" || sleep 0.2
}

forget() {
  systemctl daemon-reload
  systemctl reset-failed $units $sockets 2>/dev/null || :
  grep -rqs tcp_migrate_req /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d ||
    echo 0 >/proc/sys/net/ipv4/tcp_migrate_req
  ! command -v sshd >/dev/null || systemctl try-reload-or-restart ssh
  ! systemctl is-active --quiet nginx || systemctl reload nginx
}

purge() {
  step "purge" ""
  all=$(our_users)
  groups=$(for user in $all; do id -gn "$user"; done)
  [ -z "$all" ] || [ $dry = yes ] || end_processes $all
  for user in $all; do remove_files_of "$user"; done
  if [ -d "$home" ]; then
    if is_our_home; then change "$home" remove_home; else report "  $home is not Sluice's and stays"; fi
  fi
  for user in $all; do change "user $user" userdel "$user"; done
  [ $dry = yes ] || for group in $groups; do
    case $group in
      sluice | sluice-git | sluice_*) ! getent group "$group" >/dev/null || change "group $group" groupdel "$group" ;;
    esac
  done
}

# Removes the home. If it is a disk of its own, only empties it.
remove_home() {
  if mountpoint -q "$home"; then
    find "$home" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
    give_directory 755 root:root "$home"
  else
    rm -rf "$home"
  fi
}

# Prints the users of Sluice and of its apps, as src/config/app-user.ts makes these.
our_users() {
  for user in $users; do ! is_our_user "$user" || echo "$user"; done
  getent passwd | awk -F : -v apps="$home/apps/" '/^sluice_/ && index($5, "Sluice app ") == 1 && index($6, apps) == 1 { print $1 }'
}

# Ends all processes of users: userdel fails if a process is left, such as one of a recent push.
end_processes() {
  for user in "$@"; do
    rm -f "/var/spool/cron/crontabs/$user"
    ! command -v loginctl >/dev/null || loginctl terminate-user "$user" 2>/dev/null || :
  done
  wait_until none_runs "$@" || fail "processes of $* do not end:$left" "ps -f -p \"$(echo $left)\" shows them."
}

none_runs() {
  left=
  for user in "$@"; do
    left="$left $(processes_of "$user" | tr '\n' ' ')"
  done
  [ -n "$(echo $left)" ] || return 0
  kill -KILL $left 2>/dev/null || :
  return 1
}

# Prints the processes of a user. Small images have no ps.
processes_of() {
  uid=$(id -u "$1")
  grep -lsE "^Uid:.*[[:space:]]$uid([[:space:]]|\$)" /proc/[0-9]*/status | cut -d / -f 3
}

# Removes files of a user outside of Sluice's directories: an app may write where everybody may.
remove_files_of() {
  places=
  for place in /tmp /var/tmp /dev/shm /run/lock /var/mail /var/spool/cron /var/lib/systemd/linger; do
    [ ! -d $place ] || places="$places $place"
  done
  found=$(find $places -xdev -depth -user "$1" -print 2>/dev/null) || :
  rm -f "/var/lib/systemd/linger/$1"
  [ -z "$found" ] || change "files of $1 in$places" delete_files_of "$1" $places
}

# Deletes files of a user, except directories with files of others.
delete_files_of() {
  user=$1
  shift
  find "$@" -xdev -depth -user "$user" -delete || :
}

# ---- output and errors

# Begins a step: its name, and a remedy if it fails.
step() {
  step=$1
  remedy=$2
  [ ! -f "$log" ] || step_begins=$(wc -l <"$log")
  report "$step"
}

# Prints a description and runs a command that changes the machine, unless --dry-run is set.
change() {
  changed=yes
  report "  $1"
  shift
  [ $dry = yes ] || "$@"
}

# Prints a line to the terminal and into the log.
report() {
  echo "$1" >&3
  [ $logging = no ] || echo "$1"
}

begin_log() {
  [ $dry = no ] || return 0
  mkdir -p -m 755 "$root"
  # Addresses of registries and proxies may contain passwords.
  (umask 077 && : >>"$log")
  exec 9>>"$log"
  flock -n 9 || fail "another install.sh is running" "Wait until it has ended."
  exec >>"$log" 2>&1
  logging=yes
  step_begins=$(wc -l <"$log")
  sweep
  echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) install.sh $action"
}

confirm() {
  if [ $dry = no ] && [ $ask = yes ] && has_terminal; then
    report "$1"
    printf 'Continue? [y/N] ' >/dev/tty
    read -r answer </dev/tty
    case $answer in [yY]*) ;; *) fail "nothing was changed" ;; esac
  fi
}

has_terminal() {
  (: </dev/tty) 2>/dev/null
}

wrong_usage() {
  usage >&4
  step=
  message=$1
  exit 2
}

# @param message, and the remedy if it is known; otherwise `explain` looks for the cause in the output of the step
fail() {
  message=$1
  remedy=${2:-$remedy}
  is_known=${2:+yes}
  exit 1
}

# Removes unfinished files and explains the failure, however the script ends.
finish() {
  status=$?
  trap - EXIT
  [ $status = 0 ] || explain >&4
  free_ports
  rm -rf ${temporary:+"$temporary"} ${of_apt:+"$of_apt"} ${new:+"$new"}
  exit $status
}

explain() {
  output=
  if [ $logging = yes ]; then
    output=$(tail -n "+$((step_begins + 1))" "$log")
    [ -z "$output" ] || printf '%s\n' "$output" | tail -n 15 | sed 's/^/  | /'
  fi
  echo "install.sh: ${step:+failed at $step: }${message:-a command failed; its output is above}"
  cause=
  [ -n "$is_known" ] || cause=$(cause_in "$output")
  [ -z "$cause" ] || echo "  $cause"
  [ -z "$remedy" ] || echo "  $remedy"
  [ $logging = no ] || [ "$log" != "$root/install.log" ] ||
    echo "  The whole output is in $log. Fix the cause, then run this again."
}

# Prints the cause in the output of apt, curl, wget, npm or Node.js, or nothing.
cause_in() {
  case $1 in
    *"No space left on device"* | *ENOSPC* | *"Failure writing output"* | *"write error"* | *"Disk quota exceeded"* | *"enough free space"* | *EDQUOT*) full_disk ;;
    *"Read-only file system"* | *EROFS*) echo "A file system is mounted read-only. To list such file systems: findmnt -O ro" ;;
    *"Input/output error"* | *" EIO"* | *"EIO:"*) echo "A disk reports an input/output error. For details: dmesg --level err" ;;
    *"annot allocate memory"* | *"heap out of memory"* | *ENOMEM* | *Killed*) echo "Memory ran out: this machine has $(memory_mb) MB." ;;
    *"dpkg was interrupted"*) echo "An earlier run of apt was interrupted. Run: dpkg --configure -a" ;;
    *"Could not get lock"* | *"Unable to acquire the dpkg"*) echo "Another apt is running. Wait until it has ended." ;;
    *"ould not resolve"* | *"failure resolving"* | *"unable to resolve"* | *ENOTFOUND* | *EAI_AGAIN*)
      echo "The name of a server cannot be resolved. The DNS servers are those in /etc/resolv.conf: $(sed -n 's/^nameserver //p' /etc/resolv.conf | tr '\n' ' ').$(proxy_note)" ;;
    *"not yet valid"* | *"not valid yet"* | *"has expired"* | *"is expired"* | *CERT_NOT_YET_VALID* | *CERT_HAS_EXPIRED*)
      echo "A certificate or a signature is not valid at the time of this machine's clock: $(date -u '+%Y-%m-%d %H:%M') UTC. If that is wrong: timedatectl set-ntp true" ;;
    *"SSL certificate problem"* | *"local issuer certificate"* | *"self-signed certificate"* | *"self signed certificate"* | *"ertificate verif"* | \
      *SELF_SIGNED_CERT* | *UNABLE_TO_VERIFY* | *UNABLE_TO_GET_ISSUER*)
      echo "The certificate of a server comes from an authority that this machine does not trust, perhaps a proxy's. Put the authority's file into
  /usr/local/share/ca-certificates, run update-ca-certificates, and set NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt" ;;
    *" 407"*) echo "The proxy requires a name and a password: https_proxy=http://NAME:PASSWORD@HOST:PORT" ;;
    *"error: 401"* | *"error: 403"* | *"401  Unauthorized"* | *"403  Forbidden"* | *E401* | *E403*) echo "A server denied access." ;;
    *"error: 404"* | *"404  Not Found"* | *E404*) echo "A server does not have the requested file." ;;
    *"Unable to locate package"* | *"has no installation candidate"*) echo "The sources of apt (/etc/apt/sources.list*) lack a package." ;;
    *"timed out"* | *ETIMEDOUT* | *"onnection refused"* | *ECONNREFUSED* | *"onnection reset"* | *ECONNRESET*)
      echo "A server did not answer.$(proxy_note)" ;;
    *"Network is unreachable"* | *ENETUNREACH* | *"No route to host"* | *EHOSTUNREACH*)
      echo "This machine has no route to a server. To list the routes: ip route.$(proxy_note)" ;;
  esac
}

# Prints the full file systems that the installation writes to. Incomplete files of the failed program still take space.
full_disk() {
  for place in "${temporary:-/}" "$root" "$home" /tmp /var/cache/apt/archives /var/lib/dpkg /usr /etc; do
    df -Pk "$(nearest "$place")" | awk 'NR == 2 && $4 < 16384 { print $6 " (" int($4 / 1024) " MB free)" }'
    df -Pi "$(nearest "$place")" | awk 'NR == 2 && $2 > 0 && $4 < 10 { print $6 " (" $4 " files can be created)" }'
  done | sort -u | awk '{ full = full (NR > 1 ? ", " : "") $0 } END { print "The disk is full" (NR ? ": " full : "; df -h shows which.") }'
}

proxy_note() {
  proxy=${https_proxy:-${HTTPS_PROXY:-${http_proxy:-${HTTP_PROXY:-}}}}
  if [ -n "$proxy" ]; then echo " The proxy is $(echo "$proxy" | sed 's,//[^/]*@,//,')."
  else echo " No proxy is set. sudo drops variables; to set a proxy: sudo https_proxy=http://HOST:PORT ./install.sh"; fi
}

main() {
  case " $* " in *" --local "*) exec sh "$(dirname "$0")/libexec/local.sh" "$@" ;; esac
  action=install dry=no ask=yes purge=no listen='' domain='' unpublished='' logging=no changed=no settings_changed=no socket_changed=no
  step='' remedy='' message='' is_known='' token='' new='' installed='' step_begins=0 temporary='' of_apt=''
  isolate
  trap finish EXIT
  trap 'exit 130' INT TERM HUP
  parse_options "$@"
  case $action in
    install) install ;;
    rollback) rollback ;;
    uninstall) uninstall ;;
    version) show_versions ;;
    usage) usage ;;
  esac
}

main "$@"
