import { after, type TestContext } from 'node:test';

/** In place of a test's context, for what all tests of a file share: it is gone after the last of them. */
export const wholeFile = { after: after as TestContext['after'] };
