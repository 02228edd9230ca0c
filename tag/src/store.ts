/**
 * What the tag keeps, in localStorage and (the session alone) sessionStorage. What may not be kept, because the visitor
 * has not allowed it or the browser refuses, lives in memory as long as the page. Keys begin with `_pb_`.
 */
import { mayMeasure } from "./consent";

export const SESSION = "_pb_s";
/** What begins so stays though nothing else may: the choice itself, and the news of it. */
export const CONSENT = "_pb_c";

const memory: Record<string, string> = {};

const area = (key: string): Storage => (key == SESSION ? sessionStorage : localStorage);

/** What a browser may refuse; undefined where it did. */
export function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch {}
}

export const read = (key: string): string | undefined => memory[key] ?? attempt(() => area(key)[key]);

/** An id of its own. */
export const fresh = (kind: string): string => kind + "_" + crypto.getRandomValues(new Uint32Array(3)).join("");

/** Tell whoever writes the page. */
export const warn = (text: string): void => console.warn("postback: " + text);

/** An address, cut so that it leaves room. */
export const cut = (address: string): string => address.slice(0, 1500);

/** What was written as JSON; null or undefined where nothing was, or what stands there is not ours. */
export const readJson = <T>(key: string): T | null | undefined => attempt(() => JSON.parse(read(key)!));

/** Keep a text, as long as is allowed now, or with null remove it. `always`: though the visitor has not allowed storing. */
export function write(key: string, text: string | null, always?: boolean): void {
  delete memory[key];
  if (attempt(() => text && (always || mayMeasure()) && (area(key)[key] = text))) return;
  // What there was no room for leaves nothing older.
  attempt(() => delete area(key)[key]);
  if (text) memory[key] = text;
}

/** Do it whenever the page hears of one of these. */
export const on = (types: string, then: (event: any) => void): void =>
  types.split(" ").forEach((type) => addEventListener(type, then, true));

/** Keys of this form, in their order. */
export const keys = (form: RegExp): string[] =>
  Object.keys({ ...attempt(() => ({ ...localStorage, ...sessionStorage })), ...memory })
    .filter((key) => form.test(key))
    .sort();

export const cookies = (): string => "; " + attempt(() => document.cookie);

export const cookie = (name: string): string =>
  cookies().split("; " + name + "=")[1]?.split("; ")[0] || "";

/** Set a first-party cookie, on the host alone or `where` says. */
export const setCookie = (name: string, value: string, seconds: number, where = ""): void => {
  if (location.protocol == "https:") where += ";Secure";
  attempt(() => (document.cookie = `${name}=${value};max-age=${seconds};path=/;SameSite=Lax` + where));
};
