/**
 * What an ad click and other vendors' scripts left in the browser: click ids and campaign parameters of the address,
 * cookies. Names are those that the server knows. Each is kept with the first and the last time it was seen, in
 * milliseconds of the browser's clock.
 */
import { mayAdvertise, mayMeasure } from "./consent";
import { attempt, cookie, cookies, fresh, readJson, setCookie, write } from "./store";

interface Seen {
  value: string;
  first: number;
  last: number;
}
export type Identifiers = Record<string, Seen>;
export type Utm = Record<string, string | number>;

const enum Key {
  Identifiers = "_pb_ids",
}
const enum Limit {
  Chars = 1024,
  TagChars = 150,
  /** 90 days. */
  MetaMs = 7776e6,
  MetaSeconds = 7776e3,
}
/** Click ids in addresses: what names one ($1), and its value. Each name stands between bars, by which it is found. */
const CLICK =
  /([?&](|gclid|gbraid|wbraid|dclid|msclkid|fbclid|ttclid|twclid|li_fat_id|epik|sccid|rdt_cid|irclickid|oppref|)=)[^&#"\\]*/gi;
/** Sent as they stand, under their name without the first underscores. */
const COOKIES = "_ttp ttclid li_fat_id _epik _rdt_cid __oppref _conv_v _gcl_aw".split(" ");

let ids: Identifiers = {};

function seen(name: string, value: string | undefined, at = Date.now()): void {
  const known = ids[name];
  if (!value || value.length > Limit.Chars || at <= known?.last) return;
  ids[name] = { value, first: known?.value == value ? known.first : at, last: at };
}

const isParameter = (name: string): boolean => CLICK.source.includes(`|${name}|`);

/** What this page's address tells of a campaign. */
const parameters = (): [string, string][] =>
  [...new URLSearchParams(location.search)]
    .map(([name, value]): [string, string] => [name.toLowerCase(), value])
    .filter(([name, value]) => value && (/^utm_/.test(name) || isParameter(name)));

/**
 * As JSON, less what may be neither kept nor sent, and less what the server refuses a whole batch for: control characters
 * and halves of a surrogate pair, all that JSON escapes by number.
 */
export function written(value: unknown): string {
  const all = JSON.stringify(value, (name, one) => {
    if (name != "user_data" || mayAdvertise()) return one;
  });
  const text = all.replace(/(\\\\)|\\u..../g, "$1");
  // Addresses then say that a click brought the visitor, and not which.
  return mayAdvertise() ? text : text.replace(CLICK, "$1");
}

/** Of this page's address, in quotes, as it is kept; where it has none, `"?"`. */
export const campaign = (): string => written(("?" + new URLSearchParams(parameters())).slice(0, Limit.Chars));

/** Note what the address says. */
export function readAddress(): void {
  const tags: Record<string, string> = {};
  ids = readJson(Key.Identifiers) || ids;
  for (const [name, value] of parameters()) {
    if (!isParameter(name)) tags[name.slice(4)] = value.slice(0, Limit.TagChars);
    // It may go into a cookie.
    else if (!/[;@\s]/.test(value)) seen(name, value);
  }
  seen("utm", Object.keys(tags)[0] && JSON.stringify(tags));
  readCookies();
}

/** Note what other scripts have put down by now, and mint Meta's two where there are none. */
function readCookies(): void {
  for (const from of COOKIES) {
    const name = from.replace(/^_+/, "");
    // Of a click, the address is nearer to the truth than a cookie is.
    if (!ids[name] || !isParameter(name)) seen(name, cookie(from));
  }
  for (const [, kind, seconds, id] of cookies().matchAll(/_gcl_(gb|dc)=GCL\.(\d{10})\.([^;]+)/g))
    seen(kind == "gb" ? "wbraid" : "dclid", id, +seconds * 1e3);
  seen("ga_client_id", cookie("_ga").split(".").slice(2).join("."));
  seen("ga_session_id", /; _ga_\w+=GS(1\.\d\.|2\.\d\.([^;]*\$)?s)(\d+)/.exec(cookies())?.[3]);
  // Without a say over advertising, what is for it is neither kept nor sent.
  const may = mayMeasure();
  if (!mayAdvertise()) for (const name in ids) if (!/^(ga_|conv|utm)/.test(name)) delete ids[name];
  if (may && mayAdvertise()) readMeta();
  else if (may != null) {
    mint("_fbc");
    mint("_fbp");
  }
  write(Key.Identifiers, written(ids));
}

function readMeta(): void {
  const click = ids.fbclid;
  const [, , minted, clicked] = cookie("_fbc").split(".");
  // A click that is not the cookie's, and later than it, beats it; a click that is too old is none.
  const isNews =
    click && click.value != clicked && Date.now() - click.first < Limit.MetaMs && !(+minted > click.last);
  seen("fbc", isNews ? mint("_fbc", click.first, click.value) : cookie("_fbc"));
  seen("fbp", cookie("_fbp") || ids.fbp?.value || mint("_fbp", Date.now(), fresh("").slice(1, 11)));
}

/**
 * `fb.<labels of the cookie's domain less one>.<ms>.<id>`, set on the shortest domain that the browser takes; without an
 * id, removed from every domain.
 */
function mint(name: string, at?: number, id?: string): string {
  const labels = location.hostname.split(".");
  for (let count = 1; count <= labels.length; count++) {
    const value = `fb.${count - 1}.${at}.${id}`;
    setCookie(name, value, id ? Limit.MetaSeconds : 0, ";domain=" + labels.slice(-count).join("."));
    if (cookie(name) == value) return value;
  }
  return `fb.1.${at}.${id}`;
}

/** Identifiers and campaign as they are now. */
export function read(): { identifiers: Identifiers; utm?: Utm } {
  // Another tab may have landed with a click.
  ids = readJson(Key.Identifiers) || ids;
  readCookies();
  const { utm, ...identifiers } = ids;
  return { identifiers, utm: utm && { ...utm, ...attempt(() => JSON.parse(utm.value)), value: undefined } };
}

export function forget(): void {
  ids = {};
  write(Key.Identifiers, null);
  mint("_fbc");
}
