/** The script: settings are attributes of its element; the global may be a stub already, whose calls are made now. */
import { start, type Postback } from "./index";
import { warn } from "./store";

type Stub = Partial<Postback> & { q?: [keyof Postback, unknown[]][]; v?: string; i?: string; l?: 1 };

const script = document.currentScript as HTMLScriptElement;
const { dataset } = script;
const win = window as unknown as Record<string, Stub>;
const stub: Stub = (win.postback ||= {});

if (stub.l) {
  // Included twice, it runs once.
} else if (!dataset.site) warn("no data-site");
else {
  const { q = [] } = stub;
  const endpoint = (dataset.endpoint || new URL(script.src).origin).replace(/\/$/, "");
  const call = ([name, given]: [keyof Postback, unknown[]]): unknown => (stub[name] as any)(...given);
  Object.assign(stub, start({ ...(dataset as any), endpoint }, stub.v, stub.i), { l: 1, q: { push: call } });
  // Without a name it is `undefined`, which takes nothing.
  win[dataset.global!] = stub;
  q.forEach(call);
}
