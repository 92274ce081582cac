/**
 * How long a worker may take to open or to shut its gate, in ms: one whose event loop does not turn for so long does not
 * hold up a switch.
 */
export const gateDeadline = 1000;
