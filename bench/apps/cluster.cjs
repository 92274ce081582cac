// What PM2 does underneath: the primary accepts and deals connections out, in turns. SCRIPT is the app.
const cluster = require('node:cluster');

if (cluster.isPrimary) {
  const workers = [1, 2].map(() => cluster.fork());
  process.on('SIGTERM', () => {
    for (const worker of workers) worker.process.kill();
    process.exit();
  });
} else {
  require(process.env.SCRIPT);
}
