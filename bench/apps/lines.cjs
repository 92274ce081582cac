// On SIGUSR2 prints LINES numbered lines with TEXT: as fast as it can, or one each millisecond.
const http = require('node:http');

const { LINES: lines, PACE: pace, TEXT: text } = process.env;
let printed = 0;

function print(count) {
  const until = Math.min(Number(lines), printed + count);
  while (printed < until) {
    console.log(`line ${String(printed).padStart(6, '0')} ${text}`);
    printed += 1;
  }
  return printed < Number(lines);
}

const acts = {
  // In turns of the event loop, as an app that is at work prints.
  flood: () => print(500) && setImmediate(acts.flood),
  steady() {
    const timer = setInterval(() => print(1) || clearInterval(timer), 1);
  },
};

process.once('SIGUSR2', acts[pace]);
http.createServer((_request, response) => response.end('hello')).listen(process.env.PORT);
