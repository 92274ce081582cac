import { hostname } from 'node:os';

/** Variables that PM2 and Sluice set for each process, whatever a file says. */
const assigned =
  /^(?:PATH|HOME|USER|LOGNAME|SHELL|PWD|PORT|NODE_APP_INSTANCE|unique_id|name|PM2_.*|pm_.*|axm_.*|SLUICE_.*|__proto__)$/;

/** Variables of the shell or the machine that PM2 copies into each process, which are not variables of an app. */
const ofShell = new Set([
  ...['_', 'SHLVL', 'OLDPWD', 'TERM', 'TERMCAP', 'COLORTERM', 'COLUMNS', 'LINES', 'DISPLAY', 'WINDOWID'],
  ...['STY', 'SCREENDIR', 'TMUX', 'TMUX_PANE', 'TMUX_TMPDIR', 'TERM_PROGRAM', 'TERM_PROGRAM_VERSION'],
  ...['TERM_SESSION_ID', 'LS_COLORS', 'LESS', 'LESSOPEN', 'LESSCLOSE', 'LESSHISTFILE', 'LESSCHARSET'],
  ...['LANG', 'LC_ALL', 'LC_ADDRESS', 'LC_COLLATE', 'LC_CTYPE', 'LC_IDENTIFICATION', 'LC_MEASUREMENT'],
  ...['LC_MESSAGES', 'LC_MONETARY', 'LC_NAME', 'LC_NUMERIC', 'LC_PAPER', 'LC_TELEPHONE', 'LC_TIME'],
  ...['EDITOR', 'VISUAL', 'PAGER', 'MANPATH', 'INFOPATH', 'HUSHLOGIN', 'MOTD_SHOWN', 'GPG_TTY'],
  ...['PS1', 'PS2', 'PROMPT_COMMAND', 'TMOUT', 'EUID', 'UID', 'PPID', 'IFS', 'HISTCONTROL', 'HISTSIZE'],
  ...['HISTFILE', 'HISTFILESIZE', 'ZSH', 'ZDOTDIR', 'TMPDIR', 'DEBIAN_FRONTEND', 'GPG_AGENT_INFO'],
  ...['SSH_CLIENT', 'SSH_CONNECTION', 'SSH_TTY', 'SSH_AUTH_SOCK', 'SSH_AGENT_PID', 'SSH_ASKPASS'],
  ...['SSH_ORIGINAL_COMMAND', 'SSH_USER_AUTH', 'SUDO_USER', 'SUDO_UID', 'SUDO_GID', 'SUDO_COMMAND'],
  ...['SUDO_HOME', 'SUDO_ASKPASS', 'SUDO_PROMPT', 'SUDO_EDITOR', 'DBUS_SESSION_BUS_ADDRESS'],
  ...['DBUS_SYSTEM_BUS_ADDRESS', 'DBUS_STARTER_ADDRESS', 'DBUS_STARTER_BUS_TYPE'],
  ...['INVOCATION_ID', 'JOURNAL_STREAM', 'MANAGERPID', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'],
  ...['NOTIFY_SOCKET', 'WATCHDOG_PID', 'WATCHDOG_USEC', 'MAINPID', 'MEMORY_PRESSURE_WATCH'],
  ...['MEMORY_PRESSURE_WRITE', 'CREDENTIALS_DIRECTORY', 'RUNTIME_DIRECTORY', 'STATE_DIRECTORY'],
  ...['LOGS_DIRECTORY', 'CACHE_DIRECTORY', 'CONFIGURATION_DIRECTORY', 'WSLENV', 'WSL_DISTRO_NAME'],
  ...['WSL_INTEROP', 'INIT_CWD', 'N_PREFIX', 'CARGO_HOME', 'RUSTUP_HOME', 'RUSTUP_TOOLCHAIN'],
  ...['PNPM_HOME', 'BUN_INSTALL', 'VOLTA_HOME'],
]);

/** Beginnings of the names of such variables. */
const ofShellPrefixes =
  /^(?:XDG_|VSCODE_|NVM_|FNM_|PYENV_|RBENV_|ASDF_|BASH_|ZSH_|P9K_|npm_|NPM_CONFIG_|COREPACK_|SYSTEMD_)/;

/** Variables that belong to the machine only with certain values, as apps use the names, too. */
const ofMachine: Record<string, (value: unknown, env: Record<string, unknown>) => boolean> = {
  MAIL: (value) => /^\/var\/(?:spool\/)?mail\//.test(String(value)),
  HOSTNAME: (value) => value === hostname(),
  USERNAME: (value, env) => value === (env['USER'] ?? env['LOGNAME']),
};

/** Returns true for a variable that no import takes over: Sluice or PM2 sets it, or Sluice cannot have its name. */
export function isAssigned(name: string): boolean {
  return assigned.test(name) || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name);
}

/**
 * Returns true if PM2 took a variable from the shell or the machine that started it, or if PM2 or Sluice sets it: an import leaves
 * it out.
 */
export function isForeign(name: string): boolean {
  return isAssigned(name) || ofShell.has(name) || ofShellPrefixes.test(name);
}

/**
 * Returns the variables of an app in the environment that PM2 keeps for a process. PM2 also keeps objects in it, which are no
 * variables.
 * @param instanceVar name that the app has for its instance number; Sluice sets it
 */
export function appVariables(env: Record<string, unknown>, instanceVar?: string): Record<string, string> {
  const isOfApp = (name: string, value: unknown) =>
    !isForeign(name) && !(Object.hasOwn(ofMachine, name) && ofMachine[name]?.(value, env));
  const entries = Object.entries(env).filter(
    ([name, value]) =>
      isOfApp(name, value) && name !== instanceVar && ['string', 'number', 'boolean'].includes(typeof value),
  );
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}
