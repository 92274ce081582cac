/** Oldest Node.js that runs apps: the first version of its line with long-term support, and the oldest that pnpm 10 and yarn 4 run on. */
export const oldestNode = '18.12.0';

/** Code names of lines with long-term support, for requests such as `lts/iron`. */
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

/** Newest version of each line on 29 November 2026. Stands for the list of the registry until Sluice has read that list once. */
export const newestOfLines: readonly string[] = [
  ...['18.20.8', '19.8.1', '20.20.2', '21.7.3', '22.23.5', '23.11.1'],
  ...['24.22.3', '24.21.0', '25.9.0', '26.12.1', '26.8.2'],
];

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
