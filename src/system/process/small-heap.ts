/**
 * Flags for our own long-running processes. V8 lets its young generation grow to 16 MB three times over before it
 * collects in earnest: quick for a program that is busy, 16 MB resident for one that mostly waits (measured).
 */
export const smallHeap = ['--max-semi-space-size=1'];
