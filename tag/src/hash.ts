/**
 * Personal data leaves the browser as hashes alone: of each variant that some platform asks for, under the name that our
 * server knows it by. The rules are the server's (`src/postback/pii`), held to it by the same examples.
 */
export interface User {
  userId?: string;
  email?: string;
  phone?: string;
}

type Rule = (text: string) => string[] | undefined;

const email: Rule = (text) => {
  const plain = text.toLowerCase();
  if (!/^[^@]+@[^@]+\.[^@]+$/.test(plain) || /[<>,;"\\\p{C}]|(?! )\p{Z}/u.test(plain)) return;
  const tight = plain.replace(/ /g, "");
  const [local, domain] = tight.split("@");
  const bare = local.split("+")[0].replace(/\./g, "") || local;
  const nodots = bare + "@" + domain;
  return [plain, /^g(oogle)?mail\.com$/.test(domain) ? nodots : tight, nodots];
};

const phone: Rule = (text) => {
  // A number of the usual form inside its country has no plus: only our server, which knows the country, can tell.
  const bare = text.split(/ext|x|#|;/i)[0].replace(/\(0\)|[ \-().\t\u00a0\u2010-\u2013/]/g, "").replace(/^00/, "+");
  return /^\+[1-9]\d{6,14}$/.test(bare) ? [bare, bare.slice(1)] : undefined;
};

/** Hashes by the server's names, `user_id` as it is. What cannot be used, or hashed (a page without TLS), is left out. */
export async function hashed(user: User): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  if (user.userId) found.user_id = `${user.userId}`;
  // Field, its rule, and what the server's names add for each text that it gives.
  for (const [field, rule, variants] of [
    ["email", email, ["", "_google", "_nodots"]],
    ["phone", phone, ["", "_digits"]],
  ] as [keyof User, Rule, string[]][]) {
    const text = `${user[field] || ""}`.trim();
    const known = /^[\da-f]{64}$/i.test(text) && text.toLowerCase();
    const texts = known || (crypto.subtle && rule(text));
    if (texts)
      for (const at in variants) found[field + variants[at] + "_sha256"] = known || (await sha256(texts[at]));
  }
  return found;
}

async function sha256(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
