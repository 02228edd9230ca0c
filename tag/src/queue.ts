/**
 * Events on their way. Each stands in localStorage under a key of its own until our server has answered for it, so that
 * tabs cannot write over each other's; it keeps its `event_id`, by which the server knows a repeat. A page claims what is
 * its own for a while, and renews that as it sends; when the claim has run out, the page has gone, and any other takes over.
 */
import { read as readClicks, written } from "./clicks";
import { consented, isDenied, mayMeasure } from "./consent";
import { session, setSession, setVisitor, visitorId, type Session } from "./identity";
import { take, type Answer } from "./links";
import { CONSENT, fresh, keys, on, read, readJson, warn, write } from "./store";

export interface Event {
  event: string;
  event_id: string;
  occurred_at: string;
  user_data?: Record<string, string>;
  [field: string]: unknown;
}

/** Whose, of which visit, what, claimed until when. */
type Entry = [visitor: string, visit: Session, event: Event, claimedUntil: number];

const enum Limit {
  Waiting = 500,
  // Of an entry, and about of a batch: whatever the letters, less than the 64 KB that may outlive a page.
  Chars = 8e3,
  TimeoutMs = 1e4,
  ClaimMs = 15e3,
  PauseMs = 3e5,
}

let url: string;
let about: object;
let link: string | undefined;
let failures = 0;
/** Of this page, and not under way. */
const mine: Record<string, boolean> = {};
let timer: ReturnType<typeof setTimeout> | undefined;

/** Where to, and what every batch says; `token`: the link that the visitor came by. */
export function open(endpoint: string, said: object, token?: string): void {
  url = endpoint + "/collect";
  about = said;
  link = token;
  on("online", () => later((failures = 0)));
  on("visibilitychange", () => document.hidden && send());
}

/**
 * Queue an event as of now. What is denied never was, but for the news of it, without where the visit began; before it is
 * known, the queue lives in memory.
 */
export function put(event: Event): void {
  const isConsent = event.event == "consent";
  if (!isConsent && isDenied()) return;
  const now = Date.now();
  const visit = session(true);
  const text = written([visitorId(), isDenied() ? { id: visit.id } : visit, event, now + Limit.ClaimMs]);
  if (text.length > Limit.Chars || keys(isConsent ? /^_pb_cq/ : /^_pb_q/)[Limit.Waiting]) return warn("too much");
  const key = (isConsent ? CONSENT : "_pb_") + "q" + now + fresh("");
  mine[key] = true;
  write(key, text, isConsent);
  if (!failures) later(0);
}

export function later(ms: number): void {
  clearTimeout(timer);
  timer = setTimeout(send, ms);
}

/** Send what waits and is not claimed. `isAsking`: even nothing, for a fresh link. */
export async function send(isAsking?: boolean): Promise<void> {
  const may = mayMeasure();
  if (may == null) return;
  const now = Date.now();
  const batch: Record<string, Entry> = {};
  let first: Entry | undefined;
  let chars = 0;
  let next = 0;
  for (const key of keys(/^_pb_c?q/)) {
    const entry = readJson<Entry>(key);
    // What was denied meanwhile goes away, and what is not ours.
    if (!entry?.[1]?.id || !(may || entry[2].event == "consent")) write(key, null);
    else if (!mine[key] && entry[3] > now && entry[3] <= now + Limit.ClaimMs) next ||= entry[3];
    // One batch is one visitor's, of one visit.
    else if (chars < Limit.Chars && (!first || (entry[0] == first[0] && entry[1].id == first[1].id))) {
      first ||= entry;
      batch[key] = entry;
      chars += read(key)!.length;
    }
  }
  if (!first && !(isAsking && may)) return next ? later(next - now + 99) : undefined;
  const [visitor, visit] = first || [visitorId(), session()];
  const body = written({
    ...about,
    sent_at: new Date().toISOString(),
    visitor_id: visitor,
    // An order may bear either of the ids alone: a denial is to be known of by both.
    session_id: visit.id,
    consent: consented(),
    ...(may && { session: visit.told, ...readClicks(), link }),
    events: Object.values(batch).map((one) => one[2]),
  });
  for (const key in batch) {
    mine[key] = false;
    batch[key][3] = now + Limit.ClaimMs;
    write(key, written(batch[key]), true);
  }
  let status = 0;
  let after = 0;
  try {
    // It outlives the page, but then nobody hears the answer: the next page sends it again under the same id.
    const signal = AbortSignal.timeout?.(Limit.TimeoutMs);
    const answer = await fetch(url, { method: "POST", body, keepalive: true, credentials: "include", signal });
    status = answer.status;
    after = +answer.headers.get("Retry-After")! * 1e3 || 0;
    const said = await answer.json();
    if (answer.ok) adopt(visitor, visit.id, said);
    // What is refused is lost; what the hub could not take now is sent again.
    if (status < 500) for (const { error } of said.rejected || [said]) if (error) warn(error.message);
  } catch {}
  const isAnswered = status && status < 429 && status != 408;
  for (const key in batch)
    if (isAnswered) write(key, null);
    else mine[key] = true;
  const pause = Math.min(Limit.PauseMs, 2e3 * 2 ** failures++) * (0.5 + Math.random() / 2);
  later(isAnswered ? (failures = 0) : Math.max(after, pause));
}

/** The server knows who this is better than we do. */
function adopt(visitor: string, id: string, answer: Answer): void {
  const visit = session();
  // Of one that was denied meanwhile, it takes away the cookie that came with the answer.
  setVisitor((visitor == visitorId() && answer.visitor_id) || visitorId());
  // One that came by a link began elsewhere.
  const told = { ...(!link && visit.told), new: false };
  if (id == visit.id) setSession({ ...visit, id: answer.session_id || id, told });
  link = undefined;
  take(answer);
}
