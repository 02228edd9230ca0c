// A purchase by Node's fetch: tried again on 429, 5xx and a network that fails, with one event_id, so that it counts once.

const { POSTBACK_URL, POSTBACK_KEY } = process.env;

class Refused extends Error {} // no second try heals it

async function send(event, tries = 5) {
  const body = JSON.stringify({ event_id: crypto.randomUUID(), ...event });
  for (let n = 0; ; n++) {
    let wait = Math.random() * Math.min(10_000, 100 * 2 ** n);
    try {
      const answer = await fetch(`${POSTBACK_URL}/v1/events`, {
        method: "POST",
        headers: { Authorization: `Bearer ${POSTBACK_KEY}`, "Content-Type": "application/json" },
        body,
      });
      if (answer.ok) return await answer.json();
      if (answer.status !== 429 && answer.status < 500) throw new Refused(await answer.text());
      wait = Math.max(wait, 1000 * Number(answer.headers.get("retry-after") ?? 0));
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    if (n + 1 >= tries) throw new Error("Postback was not reached; send it again with the same event_id.");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

const receipt = await send({
  event: "purchase",
  event_id: "order-1003",
  order_id: "1003",
  value: 129.9,
  currency: "EUR",
  user_data: { email: "jane@example.com" },
});
console.log(JSON.stringify(receipt));
