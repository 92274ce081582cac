import { benchDeploy } from './deploy.ts';
import { benchGate } from './gate.ts';
import { benchLogs } from './logs.ts';
import { benchMany } from './many.ts';
import { benchPush } from './push.ts';

await benchDeploy();
await benchPush();
await benchGate();
await benchLogs();
await benchMany();
