/**
 * What the visitor allowed. Told by the page (`consent()`), Google's consent mode (`dataLayer`) or a TCF 2 API; the last
 * word holds, in every tab, and Global Privacy Control denies on top of it. Absent: not asked, which withholds nothing
 * unless the page says `data-consent="required"`.
 */
import { CONSENT, on, read, readJson, warn, write } from "./store";

export interface Consent {
  analytics?: boolean;
  ad_user_data?: boolean;
  ad_personalization?: boolean;
}

const NO_ADS = { ad_user_data: false, ad_personalization: false };
const NOTHING = { analytics: false, ...NO_ADS };
/** What Google's names mean, where they are not ours. */
const GOOGLE: Record<string, string> = { analytics_storage: "analytics", ad_storage: "ad_user_data" };
/** By Google's names: what was last denied, and not. */
const denied: Record<string, boolean> = {};
/** What Google's defaults deny. */
const defaults: Consent = {};
let isRequired = false;
/** Somebody will still be asked, or it is not known. */
let isAwaited = true;
let told: (isNews?: boolean) => void = () => {};
/** The last word that this page knows of, should it clear what is stored. */
let last: Consent | undefined;

/** The last word, which may be another tab's. */
const chosen = (): Consent | null | undefined => (last = readJson(CONSENT) || last);

/** What holds now. */
export const consented = (): Consent => ({
  ...defaults,
  ...chosen(),
  ...((navigator as any).globalPrivacyControl && NO_ADS),
});

/** Whether page views and the like may be sent; null: not known yet. */
export const mayMeasure = (): boolean | null =>
  isAwaited && chosen()?.analytics == null ? null : consented().analytics !== false;

export const isDenied = (): boolean => mayMeasure() === false;

/** Before it is known, all of it waits in memory. */
export const mayAdvertise = (): boolean => mayMeasure() == null || consented().ad_user_data !== false;

/** Take what was chosen, by whatever the page gave as such. `isStep`: others of one choice may follow at once. */
export async function choose(choice: any, isStep?: boolean): Promise<void> {
  const before = read(CONSENT);
  const now: any = {};
  for (const purpose in choice) {
    const value = choice[purpose];
    if (!(purpose in NOTHING)) warn("no purpose " + purpose);
    else if (value != null) now[purpose] = value === true || value === "granted";
  }
  // What names none of ours says nothing.
  if (!Object.keys(now)[0]) return warn("no purpose " + choice);
  // What Google denies by default is denied on pages without it too; that it asks is theirs.
  last = { ...defaults, ...(isRequired ? NOTHING : { analytics: undefined }), ...chosen(), ...now };
  write(CONSENT, JSON.stringify(last), true);
  // Who is told is settled before the wait: of what is said while `listen` begins it tells itself.
  told((isStep && (await 0)) || read(CONSENT) != before);
}

/**
 * Begin to listen; `then` is called now and at every choice: whether our server is to be told. Undefined: another tab has
 * told it, of its own ids.
 */
export function listen(required: boolean, then: (isNews?: boolean) => void): void {
  const before = read(CONSENT);
  isRequired = required;
  isAwaited = required || (window as any).__tcfapi;
  listenToGoogle();
  listenToTcf();
  told = then;
  told(read(CONSENT) != before || isDenied());
  // A page in the back-forward cache does not hear of what is stored.
  on("storage pageshow", (event) => (event.persisted || event.key == CONSENT) && told());
}

function listenToGoogle(): void {
  const layer: any[] = ((window as any).dataLayer ||= []);
  const see = (entry: any): void => {
    if (entry?.[0] != "consent") return;
    const isUpdate = entry[1] == "update";
    const said: Consent & Record<string, boolean> = {};
    for (const theirs in { ...GOOGLE, ...NO_ADS }) {
      const state = entry[2]?.[theirs];
      // A later default does not grant what one denied.
      if (state && (isUpdate || state != "granted"))
        said[GOOGLE[theirs] || theirs] = !(denied[theirs] = state != "granted");
    }
    // Two of Google's are one of ours, which both must grant.
    said.ad_user_data &&= !denied.ad_storage && !denied.ad_user_data;
    // A default is not a choice: what it denies waits for one.
    if (isUpdate) choose(said, true);
    else isAwaited ||= Object.assign(defaults, said).analytics === false;
  };
  layer.forEach?.(see);
  const { push } = layer;
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
    // Where it does not apply, nothing was chosen: it ends the waiting alone.
    if (data.gdprApplies === false) mayMeasure() ?? choose({ analytics: true });
    // `tcloaded`, `useractioncomplete`; before these what it says is not a choice.
    else if (/tc|us/.test(data.eventStatus))
      choose({ analytics: may(1, 8), ad_user_data: may(1, 7), ad_personalization: may(1, 3, 4) });
  });
}
