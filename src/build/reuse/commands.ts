/** Shell functions: a digest of the inodes of all files of a tree, and one of the settings of package managers outside of the app. */
const digests = `
hash() { sum=$(sha256sum) && printf '%s\\n' "\${sum%% *}"; }
digest() { (cd -- "$1" && find . -printf '%P\\t%i\\t%s\\t%C@\\t%m\\t%U\\t%y\\t%l\\n' | LC_ALL=C sort | hash); }
outside() (
  set --
  for file in "$HOME"/.npmrc "$HOME"/.yarnrc "$HOME"/.yarnrc.yml "$HOME"/.bunfig.toml "$HOME"/.config/pnpm/rc "$HOME"/.config/pnpm/config.yaml \\
    "$NPM_CONFIG_USERCONFIG" "$npm_config_userconfig" /etc/npmrc /usr/etc/npmrc /usr/local/etc/npmrc "$NODE_PREFIX"/etc/npmrc; do
    [ -f "$file" ] && set -- "$@" "$file"
  done
  { printf '%s\\n' "$@"; [ $# -eq 0 ] || tail -n +1 -- "$@"; } | hash
)`;

/**
 * Shell command that copies kept packages into the working directory. Ends with 3 if the packages have changed, 4 if the settings
 * outside of the app have, and 5 if a path exists. Leaves no part of the packages behind. Arguments: the store, both digests, and
 * the paths.
 */
export const restoreCommand = `${digests}
store=$1 wanted=$2 settings=$3; shift 3
[ -d "$store" ] && [ "$(digest "$store")" = "$wanted" ] || exit 3
[ "$(outside)" = "$settings" ] || exit 4
for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || exit 5; done
number=0
for path; do
  if [ -e "$store/$number" ]; then
    case $path in */*) mkdir -p -- "\${path%/*}" ;; esac && cp -a --reflink=auto -- "$store/$number" "$path" || { rm -rf -- "$@"; exit 6; }
  fi
  number=$((number + 1))
done`;

/** Shell command that lists each package.json below the working directory that may name install scripts. Arguments: the paths. */
export const scriptedCommand = `
for path; do
  [ -d "$path" ] && find "$path" -name package.json -type f -exec grep -lE '"(pre|post)?install"' {} +
done
true`;

/**
 * Shell command that copies installed packages into a store, whose parent is in HOME or in the directory of the environment. Prints
 * both digests and the size in KiB. Ends with 7 if the packages are larger than the limit. Arguments: the store, the limit in KiB, and
 * the paths.
 */
export const keepCommand = `${digests}
set -e
umask 077
store=$1 limit=$2; shift 2
remove() { rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwX -- "$1"; rm -rf -- "$1"; }; }
remove "$store"; remove "$store.new"
size=$(du -skc -- "$@" 2>/dev/null | tail -n 1 | cut -f1)
[ "$size" -le "$limit" ] || exit 7
mkdir -p -- "$store.new"
number=0
for path; do
  if [ -e "$path" ]; then cp -a --reflink=auto -- "$path" "$store.new/$number" || { remove "$store.new"; exit 6; }; fi
  number=$((number + 1))
done
mv -- "$store.new" "$store"
digest "$store"
outside
printf '%s\\n' "$size"`;

/** Shell command that removes kept packages. Argument: the store. */
export const removeCommand = `rm -rf -- "$1" "$1.new" 2>/dev/null || { chmod -R u+rwX -- "$1" "$1.new"; rm -rf -- "$1" "$1.new"; }`;

/** Shell command that replaces package.json by one without scripts of its own. Argument: the new text. */
export const hideScriptsCommand = `
[ ! -e package.json.sluice ] && cp -p -- package.json package.json.sluice && printf '%s' "$1" > package.json.new && mv -- package.json.new package.json`;

/** Shell command that puts the package.json of the app back. */
export const showScriptsCommand = 'mv -- package.json.sluice package.json';
