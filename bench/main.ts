import { benchDeploy } from './deploy.ts';
import { benchGate } from './gate.ts';

await benchDeploy();
await benchGate();
