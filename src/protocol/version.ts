/**
 * Version of the messages between server, runner and workers. Raise it when a message changes its meaning: the two
 * processes are restarted apart from each other, and a mismatch must be said rather than guessed around.
 */
export const protocolVersion = 5;
