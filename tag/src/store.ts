/**
 * What the tag keeps, in localStorage and (the session alone) sessionStorage. What may not be kept, because the visitor
 * has not allowed it or the browser refuses, lives in memory as long as the page. Keys begin with `_pb_`.
 */
export const SESSION = "_pb_s";
/** What begins so stays though nothing else may: the choice itself, and the news of it. */
export const CONSENT = "_pb_c";

/** Null: removed, though it may still lie in storage. */
const memory: Record<string, string | null> = {};
let mayKeep: boolean | null = false;

const area = (key: string): Storage => (key == SESSION ? sessionStorage : localStorage);

/** What a browser may refuse; undefined where it did. */
export function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch {}
}

export const read = (key: string): string | null | undefined =>
  key in memory ? memory[key] : attempt(() => area(key).getItem(key));

/** Tell whoever writes the page. */
export const warn = (text: string): void => console.warn("postback: " + text);

/** An address, cut so that it leaves room. */
export const cut = (address: string): string => address.slice(0, 1500);

/** What was written as JSON; null or undefined where nothing was, or what stands there is not ours. */
export const readJson = <T>(key: string): T | null | undefined => attempt(() => JSON.parse(read(key)!));

/** Keep a text, or with null remove it. `always`: though the visitor has not allowed storing. */
export function write(key: string, text: string | null, always?: boolean): void {
  try {
    if (!mayKeep && !always) throw 0;
    if (text == null) area(key).removeItem(key);
    else area(key).setItem(key, text);
    delete memory[key];
  } catch {
    memory[key] = text;
  }
}

/** Do it whenever the page hears of one of these. */
export const on = (types: string, then: (event: any) => void): void =>
  types.split(" ").forEach((type) => addEventListener(type, then, true));

/** Keys of this form, in their order. */
export const keys = (form: RegExp): string[] =>
  Object.keys({ ...attempt(() => ({ ...localStorage, ...sessionStorage })), ...memory })
    .filter((key) => form.test(key) && read(key))
    .sort();

/** Whether what is written may outlive the page: from now on, and for what was written before. */
export function keep(allowed: boolean | null): void {
  mayKeep = allowed;
  if (allowed) for (const key in memory) write(key, memory[key]);
  else for (const key of keys(/^_pb_(?!c)/)) attempt(() => area(key).removeItem(key));
}

export const cookies = (): string => attempt(() => document.cookie) || "";

export const cookie = (name: string): string =>
  cookies().split("; ").find((one) => one.startsWith(name + "="))?.slice(name.length + 1) || "";

/** Set a first-party cookie, on the host alone or `where` says. */
export const setCookie = (name: string, value: string, seconds: number, where = ""): void => {
  const how = location.protocol == "https:" ? ";Secure" : "";
  attempt(() => (document.cookie = `${name}=${value};max-age=${seconds};path=/;SameSite=Lax${where}${how}`));
};
