/**
 * Version of the messages between server, runner and workers. Raise it when a message changes its meaning: server and runner
 * restart independently, and must report a mismatch.
 */
export const protocolVersion = 9;
