/**
 * Who and which visit. The visitor's id lives in a cookie that our server sets, and in localStorage; the session's in
 * sessionStorage, ends after 30 minutes of rest or with a new campaign, and a new tab goes on with that of the last.
 */
import { campaign, written } from "./clicks";
import { isDenied, mayMeasure } from "./consent";
import { cookie, cut, fresh, keys, read, readJson, SESSION, setCookie, write } from "./store";

export interface Session {
  id: string;
  /** The last event, in milliseconds of the browser's clock. */
  at: number;
  /** The campaign parameters of the page that it began with. */
  by: string;
  /** What our server is told; `new` until it has heard of it. */
  told: { started_at?: string; landing?: string; referrer?: string; new?: boolean };
}

const enum Key {
  Visitor = "_pb_vid",
  LastSession = "_pb_ls",
}
const enum Limit {
  IdleMs = 18e5,
  /** 400 days. */
  Seconds = 3456e4,
}

let visitor: string;
let cookieName: string;

/** Find or make the visitor's id; `told`: the one that the page was told before we came. */
export function begin(cookie_: string, told?: string): void {
  cookieName = cookie_;
  // What an answer set after the denial, or a tab kept that was elsewhere, is nobody's.
  if (isDenied()) forget();
  const known = [told, cookie(cookieName), read(Key.Visitor)];
  visitor = known.find((one) => one && /^[\w.-]{1,128}$/.test(one)) || fresh("v");
}

export const visitorId = (): string => visitor;

export function setVisitor(id: string): void {
  visitor = id;
  write(Key.Visitor, id);
  const may = mayMeasure();
  // One that our server set may live longer than one that a script sets, so it is not written over.
  if (may == null || (may && cookie(cookieName) == id)) return;
  setCookie(cookieName, id, may ? Limit.Seconds : 0);
}

/** What was chosen decides what of all this, and of what waits, may outlive the page; the news of it does. */
export function keepIds(): void {
  for (const key of keys(/^_pb_(?!c$|v)/)) write(key, written(readJson(key) || 0), /cq/.test(key));
  setVisitor(visitor);
}

/** The session of this moment, begun anew where it must be. `isEvent`: keeps it alive. `told` as in `begin`. */
export function session(isEvent?: boolean, told?: string): Session {
  const now = Date.now();
  const by = campaign();
  const known = [readJson<Session>(SESSION), readJson<Session>(Key.LastSession)];
  let found = known.find((one) => one?.id && (isDenied() || (now - one.at < Limit.IdleMs && (!by[3] || by == one.by))));
  if (!found) {
    const id = told && !known.some((one) => one?.id == told) ? told : fresh("s");
    found = {
      id,
      at: now,
      by,
      told: {
        started_at: new Date().toISOString(),
        landing: cut(location.href),
        referrer: cut(document.referrer),
        new: true,
      },
    };
    isEvent = true;
  }
  if (isEvent) setSession({ ...found, at: now });
  return found;
}

export function setSession(one: Session | null): void {
  for (const key of [SESSION, Key.LastSession]) write(key, one && written(one));
}

/** Somebody else from here on. */
export function forget(): void {
  setSession(null);
  setVisitor(fresh("v"));
}
