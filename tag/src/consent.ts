/**
 * What the visitor allowed. Told by the page (`consent()`), Google's consent mode (`dataLayer`) or a TCF 2 API; the last
 * word holds, and Global Privacy Control denies on top of it. Absent: not asked, which withholds nothing unless the page
 * says `data-consent="required"`.
 */
import { CONSENT, readJson, warn, write } from "./store";

export interface Consent {
  analytics?: boolean;
  ad_user_data?: boolean;
  ad_personalization?: boolean;
}

const NO_ADS = { ad_user_data: false, ad_personalization: false };
const NOTHING = { analytics: false, ...NO_ADS };
/** What Google's names mean, where they are not ours. */
const GOOGLE: Record<string, string> = { analytics_storage: "analytics", ad_storage: "ad_user_data" };
let chosen: Consent = {};
let isRequired = false;
/** Somebody will still be asked, or it is not known. */
let isAwaited = true;
let told: (isNews: boolean) => void;

/** What holds now. */
export const consented = (): Consent => ({ ...chosen, ...((navigator as any).globalPrivacyControl && NO_ADS) });

/** Whether page views and the like may be sent; null: not known yet. */
export const mayMeasure = (): boolean | null => (isAwaited ? null : chosen.analytics !== false);

export const isDenied = (): boolean => mayMeasure() === false;

export const mayAdvertise = (): boolean => consented().ad_user_data !== false;

/** Take what was chosen, by whatever the page gave as such. */
export function choose(choice: any): void {
  if (Object(choice) !== choice) return warn("no purpose " + choice);
  const before = JSON.stringify(chosen);
  isAwaited = false;
  chosen = { ...(isRequired && NOTHING), ...chosen };
  for (const purpose in choice) {
    const value = choice[purpose];
    if (!(purpose in NOTHING)) warn("no purpose " + purpose);
    else if (value != null) (chosen as any)[purpose] = value === true || value === "granted";
  }
  const now = JSON.stringify(chosen);
  write(CONSENT, now, true);
  told(now != before);
}

/** Begin to listen; `then` is called now and at every choice: whether our server is to be told. */
export function listen(required: boolean, then: (isNews: boolean) => void): void {
  told = then;
  isRequired = required;
  const stored = readJson<Consent>(CONSENT);
  chosen = stored || {};
  isAwaited = (required || (window as any).__tcfapi) && !stored;
  listenToGoogle();
  listenToTcf();
  // This page has a visitor's id of its own: our server is to know of the denial by that one too.
  told(stored?.analytics === false && isDenied());
}

function listenToGoogle(): void {
  const layer: any[] = ((window as any).dataLayer ||= []);
  const see = (entry: any): void => {
    if (entry?.[0] != "consent") return;
    const said: any = {};
    for (const theirs in { ...GOOGLE, ...NO_ADS }) {
      const ours = GOOGLE[theirs] || theirs;
      if (entry[2][theirs]) said[ours] = said[ours] !== false && entry[2][theirs] == "granted";
    }
    if (entry[1] == "update") choose(said);
    else {
      // A default is not a choice: what it denies waits for one. A later default does not grant what one denied.
      for (const purpose in said) if (!said[purpose]) chosen = { [purpose]: false, ...chosen };
      isAwaited ||= chosen.analytics === false && !readJson(CONSENT);
    }
  };
  layer.forEach(see);
  const push = layer.push;
  layer.push = (...given) => {
    given.forEach(see);
    return push.apply(layer, given);
  };
}

function listenToTcf(): void {
  (window as any).__tcfapi?.("addEventListener", 2, (data: any, ok: boolean) => {
    if (!ok) return;
    // 1: store on a device, 3, 4: personalised advertising, 7: measure advertising, 8: measure content.
    const may = (...purposes: number[]): boolean => purposes.every((one) => data.purpose?.consents?.[one]);
    if (data.gdprApplies === false) choose({ analytics: true });
    else if (data.eventStatus != "cmpuishown")
      choose({ analytics: may(1, 8), ad_user_data: may(1, 7), ad_personalization: may(1, 3, 4) });
  });
}
