import { benchGate } from './gate.ts';

await benchGate();
