// Jobs that do nothing, in BullMQ: `fill URL JOBS`, `work URL CONCURRENCY`, `latency URL JOBS PAUSE_MS`.
const { Queue, Worker } = require('bullmq');

const [what, url, first, second] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

async function fill(jobs) {
  const queue = new Queue('bench', { connection });
  for (let from = 0; from < jobs; from += 500) {
    const bulk = [];
    for (let number = from; number < from + 500; number += 1) {
      const name = String(number).padStart(6, '0');
      bulk.push({ name: 'job', data: `company-${name}/20261124T020000Z-${name}/worklogs` });
    }
    await queue.addBulk(bulk);
  }
  await queue.close();
  console.log('filled');
}

function work(concurrency) {
  new Worker('bench', async () => {}, { connection, concurrency });
}

async function latency(jobs, pause) {
  const pushed = [];
  const waited = [];
  const worker = new Worker('bench', async (job) => {
    waited.push(performance.now() - pushed[job.data]);
  }, { connection, concurrency: 16 });
  const queue = new Queue('bench', { connection });
  await worker.waitUntilReady();
  await sleep(1000);
  for (let number = 0; number < jobs; number += 1) {
    pushed.push(performance.now());
    await queue.add('job', number);
    await sleep(pause);
  }
  await sleep(2000);
  for (const ms of waited) console.log(ms);
  process.exit(0);
}

if (what === 'fill') fill(Number(first));
else if (what === 'work') work(Number(first));
else latency(Number(first), Number(second));
