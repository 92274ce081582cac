/** Where programs are, for those that are started without a PATH of their own. */
export const usualPath = '/usr/local/bin:/usr/bin:/bin';
