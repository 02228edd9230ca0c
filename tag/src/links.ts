/**
 * How ids get to where the tag does not reach: hidden fields of forms, and a short-lived `pb_vid` on links and forms to
 * the hosts that the site allows.
 */
import { mayMeasure } from "./consent";
import { session, visitorId } from "./identity";
import { send } from "./queue";
import { attempt, on } from "./store";

export interface Answer {
  visitor_id?: string;
  session_id?: string;
  link?: string;
  /** Seconds. */
  link_expires_in?: number;
  link_domains?: string[];
}

const enum Parameter {
  Token = "pb_vid",
}
const NAMES = /^(visitor|session)(_id|Id)$/;

let token = "";
let tokenUntil = 0;
let domains: string[] = [];
let isByName: boolean;
let timer: ReturnType<typeof setTimeout>;
const filled = new WeakSet<HTMLInputElement>();

const without = (href: string): string => href.replace(/([?&])pb_vid=[^&#]*&?/, "$1").replace(/[?&](#|$)/, "$1");

/** The token in this page's address, which is taken out of it. */
export function arrived(): string | undefined {
  const found = new URLSearchParams(location.search).get(Parameter.Token);
  if (found) attempt(() => history.replaceState(history.state, "", without(location.href)));
  return found || undefined;
}

export function take(answer: Answer): void {
  domains = answer.link_domains || domains;
  if (answer.link) {
    token = answer.link;
    const lasts = answer.link_expires_in! * 1e3;
    tokenUntil = Date.now() + lasts;
    clearTimeout(timer);
    timer = setTimeout(renew, lasts * 0.8);
  }
  fill();
}

const renew = (): unknown => document.hidden || (domains[0] && send(true));

/** Fill forms and mark links from now on. `byName`: fields of a known name too. `asks`: for a fresh token. */
export function watch(byName: boolean): void {
  isByName = byName;
  fill();
  on("DOMContentLoaded", () => fill());
  on("visibilitychange", renew);
  // Whatever makes a form be sent makes its data be gathered, and asks us then.
  on("formdata", ({ target, formData }) => {
    fill(target, formData);
    if (mayMark() && leads(new URL(target.getAttribute("action") || "", location.href)))
      formData.set(Parameter.Token, token);
  });
  on("pointerdown click", (event) => {
    const anchor: HTMLAnchorElement | undefined = event.target.closest?.("a[href]");
    if (!anchor || !leads(anchor)) return;
    let [href, hash] = without(anchor.href).split("#");
    if (mayMark()) href += (href.includes("?") ? "&" : "?") + Parameter.Token + "=" + token;
    anchor.href = href + (hash ? "#" + hash : "");
  });
}

/** Whether there is a token to show; a link may bear one that it got before a denial. */
const mayMark = (): boolean | null => mayMeasure() && Date.now() < tokenUntil;

const leads = ({ host, hostname }: { host: string; hostname: string }): boolean =>
  host != location.host && domains.some((one) => `.${hostname}`.endsWith(`.${one}`));

function fill(root: ParentNode = document, data?: FormData): void {
  for (const input of root.querySelectorAll<HTMLInputElement>("input[type=hidden]")) {
    const marked = input.dataset.postback;
    if (marked != null || (isByName && NAMES.test(input.name) && (!input.value || filled.has(input)))) {
      filled.add(input);
      input.value = /^s/.test(marked || input.name) ? session().id : visitorId();
      data?.set(input.name, input.value);
    }
  }
}
