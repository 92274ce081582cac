/** Occasion of a failure: a kind of command, or the start of the app. */
export type Occasion = 'install' | 'build' | 'hook' | 'boot';

/** Occasions of a row that applies to commands and to boots. */
export const everywhere: readonly Occasion[] = ['install', 'build', 'hook', 'boot'];
