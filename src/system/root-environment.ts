/** Of programs that we start as root: nothing of our own environment is theirs. */
export const rootEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
