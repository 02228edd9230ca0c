/** Postback's browser tag. `start` may be called once a page; the script that a page loads is `browser.ts`. */
import { forget as forgetClicks, readAddress } from "./clicks";
import { choose, isDenied, listen, type Consent } from "./consent";
import { hashed, type User } from "./hash";
import { begin, forget, keepIds, session, visitorId } from "./identity";
import { arrived, watch } from "./links";
import { cut, fresh, on } from "./store";
import { later, open, put, type Event } from "./queue";

export type { Consent, User };

export interface Options {
  /** The site's public key. */
  site: string;
  /** Base URL that `/collect` stands under. */
  endpoint: string;
  /** Name of the visitor's cookie. */
  cookie?: string;
  /** Any text: send and store nothing before `consent()`. */
  consent?: string;
  /** "off": fill only the hidden fields that are marked `data-postback`, not those of a known name. */
  autofill?: string;
}

export interface Item {
  product_id?: string;
  name?: string;
  quantity?: number;
  price?: number;
  total?: number;
}

/** Of an event; other names go along as its properties. */
export interface Properties {
  /** Of the server's copy of the same event, so that the two count once. */
  event_id?: string;
  value?: number;
  currency?: string;
  order_id?: string;
  items?: Item[];
  /** Experience to variation. */
  experiments?: Record<string, string>;
  [name: string]: unknown;
}

export interface Postback {
  getIdentity(): { visitorId: string; sessionId: string };
  getVisitorId(): string;
  getSessionId(): string;
  /** The visitor opened a product: an interaction that conversions are attributed to. */
  open(productId: string, about?: { widget?: string; placement?: string; [name: string]: unknown }): string;
  /** Send an event; gives its id. */
  track(event: string, properties?: Properties): string;
  /** Send a page view; those of loads and history changes are sent without. */
  page(properties?: Properties): string;
  /** Say who this is; all but the user id is hashed here. */
  identify(user: User): Promise<void>;
  consent(choice: Consent): void;
  /** Somebody else from here on (a log-out on a shared device). */
  reset(): void;
}

const LIFTED = /^(event_id|value|currency|order_id|items|experiments|product|widget|placement|user_data)$/;

/** Begin; `told`: the visitor's and the session's id that the page knows already. */
export function start(options: Options, ...told: (string | undefined)[]): Postback {
  let referrer = document.referrer;
  let last = "";

  const track = (event: string, properties?: Properties): string => {
    const made: Event = {
      event,
      event_id: fresh("e"),
      occurred_at: new Date().toISOString(),
      // What is sent of somebody who may not be measured is the news of that alone.
      ...(!isDenied() && { url: cut(location.href), referrer: cut(referrer), title: document.title }),
    };
    const others: Properties = (made.properties = {});
    for (const name in properties) (LIFTED.test(name) ? made : others)[name] = properties[name];
    put(made);
    return made.event_id;
  };

  /** The page, without a hash that is not a route. */
  const place = (): string => location.href.replace(/#(?![!/]).*/, "");
  const page = (properties?: Properties): string => {
    if (last && place() != last) referrer = last;
    last = place();
    readAddress();
    return track("page_view", properties);
  };
  // The title is set after the address is.
  const moved = (): unknown => setTimeout(() => place() != last && page());
  const load = (): void => {
    page();
    for (const name of ["pushState", "replaceState"] as const) {
      const original = history[name];
      history[name] = function (...given) {
        original.apply(history, given);
        moved();
      };
    }
    on("popstate", moved);
    on("pageshow", (event) => event.persisted && page());
  };

  const { cookie = "_pb_vid", endpoint, site } = options;
  const link = arrived();
  begin(cookie, told[0]);
  session(false, told[1]);
  open(endpoint, { cookie, bot: navigator.webdriver, site_key: site }, link);
  watch(options.autofill != "off");
  listen(options.consent != null, (isNews) => {
    keepIds();
    readAddress();
    // What waits goes out, or away.
    later(0);
    // Our server is to know of a denial by all ids that a page gave, whichever tab was told.
    if (isNews ?? (isDenied() && session().told.new)) track("consent");
  });
  if ((document as any).prerendering) on("prerenderingchange", load);
  else load();

  return {
    getIdentity: () => ({ visitorId: visitorId(), sessionId: session().id }),
    getVisitorId: visitorId,
    getSessionId: () => session().id,
    open: (product, about) => track("open", { ...about, product }),
    track,
    page,
    identify: async (user) => {
      track("identify", { user_data: await hashed(user) });
    },
    consent: choose,
    reset() {
      forgetClicks();
      forget();
      if (isDenied()) track("consent");
    },
  };
}
