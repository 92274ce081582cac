/**
 * Shell command that prints digests of what an install reads outside of the app: of the settings of package managers, of the operating
 * system, and, with its path, of each path that exists. Ends with 8 if the settings match a pattern, 9 if a path holds a link, and 10
 * if a file of the paths matches a pattern. Arguments: both patterns, empty for none, and paths.
 */
export const factsCommand = `
outside() (
  set --
  for file in "$HOME"/.npmrc "$HOME"/.yarnrc "$HOME"/.yarnrc.yml "$HOME"/.config/pnpm/rc "$HOME"/.config/pnpm/config.yaml \\
    "$NPM_CONFIG_USERCONFIG" "$npm_config_userconfig" /etc/npmrc /usr/etc/npmrc /usr/local/etc/npmrc "$NODE_PREFIX"/etc/npmrc; do
    [ -f "$file" ] && set -- "$@" "$file"
  done
  printf '%s\\n' "$@"; [ $# -eq 0 ] || tail -n +1 -- "$@"
)
digest() { sum=$(sha256sum) && printf '%s\\n' "\${sum%% *}"; }
settings=$1 content=$2; shift 2
if [ -n "$settings" ] && outside | grep -qiE -- "$settings"; then exit 8; fi
outside | digest
grep -E '^(ID|VERSION_ID)=' /etc/os-release | digest
for path; do
  [ -e "$path" ] || [ -L "$path" ] || continue
  if find "$path" ! -type f ! -type d | grep -q .; then exit 9; fi
  if [ -n "$content" ] && find "$path" -type f -exec grep -lE -- "$content" {} + | grep -q .; then exit 10; fi
  printf '%s %s\\n' "$(find "$path" -type f -exec sha256sum -- {} + | LC_ALL=C sort | digest)" "$path"
done`;

/** Shell function: a digest of the inodes of all files of a tree. */
const treeDigest = `
digest() { (cd -- "$1" && find . -printf '%P\\t%i\\t%s\\t%C@\\t%m\\t%U\\t%y\\t%l\\n' | LC_ALL=C sort | { sum=$(sha256sum) && printf '%s\\n' "\${sum%% *}"; }); }`;

/**
 * Shell function that copies a file or a tree to a path where nothing is. Copies two entries of the tree at a time: one copy of many
 * small files keeps only one processor busy.
 */
const treeCopy = `
copy() {
  if [ ! -d "$1" ] || [ -L "$1" ]; then cp -a --reflink=auto -- "$1" "$2"; return; fi
  mkdir -- "$2" && find "$1" -mindepth 1 -maxdepth 1 -print0 | xargs -0 -r -P 2 -n 16 cp -a --reflink=auto -t "$2" -- &&
    chmod --reference="$1" -- "$2" && touch -r "$1" -- "$2"
}`;

/**
 * Shell command that copies kept packages into the working directory. Programs of pnpm contain the path of the install: another one is replaced.
 * Ends with 3 if the packages have changed, and 5 if a path exists. In all other failures, parts of the packages may be there.
 * Arguments: the store, the digest, and the paths.
 */
export const restoreCommand = `${treeDigest}${treeCopy}
store=$1 wanted=$2; shift 2
[ -d "$store" ] && [ "$(digest "$store")" = "$wanted" ] || exit 3
for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || exit 5; done
number=0
for path; do
  if [ -e "$store/$number" ]; then
    case $path in */*) mkdir -p -- "\${path%/*}" ;; esac && copy "$store/$number" "$path" || exit 6
  fi
  number=$((number + 1))
done
old=$(cat -- "$store/root")
[ "$old" != "$(pwd -P)" ] || exit 0
from=$(printf '%s' "$old" | sed 's/[].*^$|[\\\\]/\\\\&/g')
to=$(pwd -P | sed 's/[&|\\\\]/\\\\&/g')
find "$@" -path '*/.bin/*' -type f -exec grep -lZF -- "$old/" {} + 2>/dev/null | xargs -0 -r sed -i "s|$from/|$to/|g"`;

/** Shell command that removes what an incomplete restore has left. Arguments: the paths. */
export const removeRestoredCommand = 'rm -rf -- "$@"';

/** Shell command that lists each package.json below the working directory that may name install scripts. Arguments: the paths. */
export const scriptedCommand = `
for path; do
  [ -d "$path" ] && find "$path" -name package.json -type f -exec grep -lE '"(pre|post)?install"' {} +
done
true`;

/**
 * Shell command that copies installed packages into a store, whose parent is in HOME or in the directory of the environment. Prints
 * the digest and the size in KiB. Ends with 7 if the packages are larger than the limit, and 9 if packages are, or lead, elsewhere.
 * Arguments: the store, the limit in KiB, the directories of members as lines, and the paths.
 */
export const keepCommand = `${treeDigest}${treeCopy}
set -e
umask 077
store=$1 limit=$2 members=$3; shift 3
remove() { rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwX -- "$1"; rm -rf -- "$1"; }; }
remove "$store"; remove "$store.new"
root=$(pwd -P)
for path; do case $path in node_modules | .yarn/install-state.gz) [ -e "$path" ] || exit 9 ;; esac; done
paths=$(printf '%s\\n' "$@")
if find . -path ./.sluice -prune -o -name node_modules -prune -printf '%P\\n' 2>/dev/null | grep -vxF -- "$paths" | grep -q .; then exit 9; fi
if find "$@" -type l -lname '/*' 2>/dev/null | grep -q .; then exit 9; fi
export root allowed="$paths
$members"
find "$@" -type l -exec readlink -f -- {} + 2>/dev/null | awk '
  BEGIN { count = split(ENVIRON["allowed"], allowed, "\\n") }
  { for (i = 1; i <= count; i++) if (allowed[i] != "" && index($0 "/", ENVIRON["root"] "/" allowed[i] "/") == 1) next; exit 1 }' || exit 9
size=$(du -skc -- "$@" 2>/dev/null | tail -n 1 | cut -f1)
[ "$size" -le "$limit" ] || exit 7
mkdir -p -- "$store.new"
number=0
for path; do
  if [ -e "$path" ]; then copy "$path" "$store.new/$number" || { remove "$store.new"; exit 6; }; fi
  number=$((number + 1))
done
printf '%s' "$root" > "$store.new/root"
mv -- "$store.new" "$store"
digest "$store"
printf '%s\\n' "$size"`;

/** Shell command that removes kept packages. Argument: the store. */
export const removeCommand = `rm -rf -- "$1" "$1.new" 2>/dev/null || { chmod -R u+rwX -- "$1" "$1.new"; rm -rf -- "$1" "$1.new"; }`;

/** Shell command that replaces package.json by one without scripts of its own. Argument: the new text. */
export const hideScriptsCommand = `
[ ! -e package.json.sluice ] && cp -p -- package.json package.json.sluice && printf '%s' "$1" > package.json.new && mv -- package.json.new package.json`;

/** Shell command that puts the package.json of the app back. */
export const showScriptsCommand = 'mv -- package.json.sluice package.json';
