import { benchDeploy } from './deploy.ts';
import { benchLogs, benchMasking } from './logs.ts';
import { benchMany } from './many.ts';
import { benchPush } from './push.ts';
import { benchWorker } from './worker.ts';

await benchDeploy();
await benchPush();
await benchWorker();
await benchLogs();
await benchMasking();
await benchMany();
