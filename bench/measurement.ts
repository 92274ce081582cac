/** Context of a running measurement. */
export interface Scope {
  /** registers what to do after the last round, the newest first */
  after(cleanup: () => unknown): void;
  /** true to measure less in each round, for a first impression */
  quick: boolean;
}

/** Figures of a round, by name. */
export type Figures = Record<string, number>;

/** Measures once. */
export type Side = () => Promise<Figures>;

/** Upper limits of a row. */
export interface Goal {
  /** of the median of Sluice's figures */
  figure?: number;
  /** of the median of the ratios of Sluice's figure to that of the rival, each within one round */
  ratio?: number;
}

export type Unit = 'ms' | 'µs' | 's' | 'MB' | '%' | '';

/** Line of the table. */
export interface Row {
  title: string;
  /** title in README.md, which shows only rows that have one */
  short?: string;
  unit: Unit;
  /** name of Sluice's figure */
  ours: string;
  rival?: { name: string; figure: string };
  goal: Goal;
}

/** One thing to measure: Sluice and its rivals in turns, for some rounds. */
export interface Measurement {
  /** as `npm run bench -- NAME` has it */
  name: string;
  rounds: number;
  /** rounds of a quick run; 0 leaves the measurement out */
  quickRounds: number;
  rows: Row[];
  /** Prepares the sides. A round runs each once, and each round starts with another one. */
  prepare(scope: Scope): Promise<Side[]>;
}
