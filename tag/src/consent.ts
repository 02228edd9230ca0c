/**
 * What the visitor allowed. Told by the page (`consent()`), Google's consent mode (`dataLayer`) or a TCF 2 API; the last
 * word holds, and Global Privacy Control denies on top of it. Absent: not asked, which withholds nothing unless the page
 * says `data-consent="required"`.
 */
import { CONSENT, readJson, write } from "./store";

export interface Consent {
  analytics?: boolean;
  ad_user_data?: boolean;
  ad_personalization?: boolean;
}

/** Google's names for it. */
const GOOGLE = [
  ["analytics_storage", "analytics"],
  ["ad_storage", "ad_user_data"],
  ["ad_user_data", "ad_user_data"],
  ["ad_personalization", "ad_personalization"],
] as const;
const NO_ADS = { ad_user_data: false, ad_personalization: false };
const win = globalThis as any;
let chosen: Consent = {};
let isRequired = false;
/** Somebody will still be asked. */
let isAwaited = false;
let told: (isNews: boolean) => void;

/** What holds now. */
export const consented = (): Consent => ({ ...chosen, ...((navigator as any).globalPrivacyControl && NO_ADS) });

/** Whether page views and the like may be sent; null: not known yet. */
export const mayMeasure = (): boolean | null => (isAwaited ? null : chosen.analytics !== false);

export const mayAdvertise = (): boolean => consented().ad_user_data !== false;

/** Take what was chosen. */
export function choose(choice: Consent): void {
  const before = JSON.stringify(chosen);
  isAwaited = false;
  chosen = { ...(isRequired && { analytics: false, ...NO_ADS }), ...chosen, ...choice };
  const now = JSON.stringify(chosen);
  write(CONSENT, now, true);
  told(now != before);
}

/** Begin to listen; `then` is called now and at every choice: whether it differs from the one before. */
export function listen(required: boolean, then: (isNews: boolean) => void): void {
  told = then;
  isRequired = required;
  const stored = readJson<Consent>(CONSENT);
  chosen = stored || {};
  isAwaited = required && !stored;
  listenToGoogle();
  listenToTcf();
  told(false);
}

function listenToGoogle(): void {
  const layer: any[] = (win.dataLayer = win.dataLayer || []);
  const see = (entry: any): void => {
    if (entry?.[0] != "consent") return;
    const said: Consent = {};
    for (const [theirs, ours] of GOOGLE)
      if (entry[2][theirs]) said[ours] = said[ours] !== false && entry[2][theirs] == "granted";
    if (entry[1] == "update") choose(said);
    else {
      // A default is not a choice: what it denies waits for one. A later default does not grant what one denied.
      for (const purpose in said) if (!said[purpose as keyof Consent]) chosen = { [purpose]: false, ...chosen };
      isAwaited ||= chosen.analytics === false && !readJson(CONSENT);
    }
  };
  layer.forEach(see);
  const push = layer.push;
  layer.push = function () {
    [].forEach.call(arguments, see);
    return push.apply(layer, arguments as any);
  };
}

function listenToTcf(): void {
  if (!win.__tcfapi) return;
  isAwaited ||= !readJson(CONSENT);
  win.__tcfapi("addEventListener", 2, (data: any, ok: boolean) => {
    if (!ok) return;
    // 1: store on a device, 3, 4: personalised advertising, 7: measure advertising, 8: measure content.
    const may = (...purposes: number[]): boolean => purposes.every((one) => data.purpose?.consents?.[one]);
    if (data.gdprApplies === false) choose({ analytics: true });
    else if (data.eventStatus != "cmpuishown")
      choose({ analytics: may(1, 8), ad_user_data: may(1, 7), ad_personalization: may(1, 3, 4) });
  });
}
