/** Oldest Node.js that runs apps: the first LTS version of its line, and the oldest that pnpm 10 and yarn 4 run on. */
export const oldestNode = '18.12.0';

/** Code names of LTS lines, for requests such as `lts/iron`. */
export const codeNames: Readonly<Record<string, number>> = {
  argon: 4,
  boron: 6,
  carbon: 8,
  dubnium: 10,
  erbium: 12,
  fermium: 14,
  gallium: 16,
  hydrogen: 18,
  iron: 20,
  jod: 22,
  krypton: 24,
  lithium: 26,
};

/** Last patch of each minor version on 29 November 2026, by line. */
const lastPatches: Readonly<Record<number, string>> = {
  18: '12.1 13.0 14.2 15.0 16.1 17.1 18.2 19.1 20.8',
  19: '0.1 1.0 2.0 3.0 4.0 5.0 6.1 7.0 8.1',
  20: '0.0 1.0 2.0 3.1 4.0 5.1 6.1 7.0 8.1 9.0 10.0 11.1 12.2 13.1 14.0 15.1 16.0 17.0 18.3 19.6 20.2',
  21: '0.0 1.0 2.0 3.0 4.0 5.0 6.2 7.3',
  22: '0.0 1.0 2.0 3.0 4.1 5.1 6.0 7.0 8.0 9.0 10.0 11.0 12.0 13.1 14.0 15.1 16.0 17.1 18.0 19.0 20.0 21.1 22.3 23.5',
  23: '0.0 1.0 2.0 3.0 4.0 5.0 6.1 7.0 8.0 9.0 10.0 11.1',
  24: '0.2 1.0 2.0 3.0 4.1 5.0 6.0 7.0 8.0 9.0 10.0 11.1 12.0 13.1 14.1 15.0 16.0 17.0 18.1 19.0 20.0 21.0 22.3',
  25: '0.0 1.0 2.1 3.0 4.0 5.0 6.1 7.0 8.2 9.0',
  26: '0.0 1.0 2.0 3.1 4.0 5.1 6.0 7.0 8.2 9.0 10.0 12.1',
};

/**
 * Versions on that day, for use without a network: until Sluice has read the list of the registry once, and in `sluice check`. Has a
 * few patches that were never published.
 */
export const knownVersions: readonly string[] = Object.entries(lastPatches).flatMap(([major, minors]) =>
  minors.split(' ').flatMap((minor) => {
    const [name, last] = minor.split('.');
    return Array.from({ length: Number(last) + 1 }, (_, patch) => `${major}.${name}.${patch}`);
  }),
);

interface Regression {
  /** versions with the fault */
  range: string;
  /** clause that describes the fault */
  fault: string;
}

/** Versions with a fault that breaks apps, and that Sluice avoids. test/platform has a test of each fault. */
export const regressions: readonly Regression[] = [
  ...['>=26.9.0 <26.13.0', '>=24.22.0 <24.23.0'].map((range) => ({
    range,
    fault:
      'after text that is not ASCII, a response may lose its "drain" event, so that a download never ends',
  })),
];
