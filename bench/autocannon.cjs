// autocannon's side of `load.py`: every request carries events of its own. Prints one line: RESULT and what `load.py`
// reads. Times in microseconds (autocannon counts milliseconds).
const { readFileSync } = require("node:fs");
const [, , library, url, connections, seconds, run, batchText, templateFile, key, opening] = process.argv;
const autocannon = require(library);

const pieces = readFileSync(templateFile, "utf8").split(/@(id|phone)@/);
const batch = Number(batchText);
let events = 0;

function event() {
  events += 1;
  const id = `${run}-a-${String(events).padStart(9, "0")}`;
  const phone = String(events % 10000000).padStart(7, "0");
  return pieces.map((piece, i) => (i % 2 === 0 ? piece : piece === "id" ? id : phone)).join("");
}

function body() {
  if (batch === 0) return event();
  return `${opening}"events":[${Array.from({ length: batch }, event).join(",")}]}`;
}

autocannon(
  {
    url,
    connections: Number(connections),
    duration: Number(seconds),
    timeout: 30,
    method: "POST",
    headers: {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/146.0",
    },
    requests: [{ setupRequest: (request) => ({ ...request, body: body() }) }],
  },
  (error, result) => {
    if (error) throw error;
    const { latency, non2xx, errors, duration } = result;
    const answered = result["2xx"] + non2xx;
    const times = [latency.p50, latency.p99, latency.p99_9].map((ms) => (ms * 1000).toFixed(1)).join(" ");
    console.log(`RESULT ${answered} ${Math.round(duration * 1e6)} ${non2xx} ${errors} ${times}`);
  },
);
