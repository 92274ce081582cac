/** Names of variables of the shell or the machine that PM2 copies into each process, which are not variables of an app. */
const foreignNames = new Set([
  ...[
    '_',
    'PATH',
    'HOME',
    'USER',
    'LOGNAME',
    'USERNAME',
    'SHELL',
    'SHLVL',
    'PWD',
    'OLDPWD',
    'MAIL',
    'HOSTNAME',
  ],
  ...[
    'TERM',
    'TERMCAP',
    'COLORTERM',
    'COLUMNS',
    'LINES',
    'DISPLAY',
    'WINDOWID',
    'WINDOW',
    'STY',
    'LS_COLORS',
  ],
  ...['LANG', 'LANGUAGE', 'EDITOR', 'VISUAL', 'PAGER', 'MANPATH', 'INFOPATH', 'HUSHLOGIN', 'MOTD_SHOWN'],
  ...[
    'PS1',
    'PS2',
    'PROMPT_COMMAND',
    'TMOUT',
    'EUID',
    'UID',
    'PPID',
    'IFS',
    'HISTCONTROL',
    'HISTSIZE',
    'HISTFILE',
  ],
  ...[
    'INVOCATION_ID',
    'JOURNAL_STREAM',
    'MANAGERPID',
    'LISTEN_FDS',
    'LISTEN_PID',
    'LISTEN_FDNAMES',
    'NOTIFY_SOCKET',
  ],
  ...[
    'WATCHDOG_PID',
    'WATCHDOG_USEC',
    'MAINPID',
    'SYSTEMD_EXEC_PID',
    'MEMORY_PRESSURE_WATCH',
    'DEBIAN_FRONTEND',
  ],
  ...['TMPDIR', 'TEMP', 'TMP', 'SUDO', 'WSLENV', 'NODE', 'INIT_CWD', 'FNM_DIR', 'N_PREFIX'],
  // Those of PM2.
  ...['unique_id', 'pm_id', 'name', 'NODE_APP_INSTANCE', 'HISTFILESIZE', 'DBUS_SESSION_BUS_ADDRESS'],
  // Sluice assigns the port.
  'PORT',
]);

/** Beginnings of the names of such variables. */
const foreignPrefixes =
  /^(?:SSH_|SUDO_|LC_|XDG_|DBUS_|GPG_|TMUX|SCREEN|VSCODE_|TERM_|LESS|GNOME_|KDE_|QT_|GTK_|WSL_|NVM_|FNM_|VOLTA_|PYENV_|RBENV_|ASDF_|CARGO_|RUSTUP_|BASH_|ZSH|P9K_|ZDOTDIR|npm_|NPM_CONFIG_|PNPM_HOME|BUN_INSTALL|COREPACK_|PM2_|pm_|axm_|SLUICE_|SYSTEMD_|CREDENTIALS_DIRECTORY|RUNTIME_DIRECTORY|STATE_DIRECTORY|LOGS_DIRECTORY|CACHE_DIRECTORY|CONFIGURATION_DIRECTORY)/;

/**
 * Returns true if PM2 took a variable from the shell or the machine that started it, or if PM2 or Sluice sets it: an import leaves
 * it out.
 */
export function isForeign(name: string): boolean {
  return (
    foreignNames.has(name) ||
    foreignPrefixes.test(name) ||
    !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ||
    name === '__proto__'
  );
}

/**
 * Returns the variables of an app in the environment that PM2 keeps for a process. PM2 also keeps objects in it, which are no
 * variables.
 * @param instanceVar name that the app has for its instance number; Sluice sets it
 */
export function appVariables(env: Record<string, unknown>, instanceVar?: string): Record<string, string> {
  const entries = Object.entries(env).filter(
    ([name, value]) =>
      !isForeign(name) && name !== instanceVar && ['string', 'number', 'boolean'].includes(typeof value),
  );
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}
