"""Normalising: an identifier's text, trimmed by the caller, to the texts that platforms hash. None: it is unusable.

Where platforms disagree a rule gives several variants, in the order of `pii.identify`'s names. Texts are equal, not
only alike, where variants agree, so that each is hashed once. Sources: `reference/destinations/` of the design, read
2026-11-20: Meta CAPI v26, GA4 and Google Data Manager, TikTok Events API 2.0, Microsoft UET CAPI, Reddit CAPI v3.
"""

import re
import unicodedata
from datetime import date
from ipaddress import IPv6Address, ip_address
from string import digits, punctuation

_GMAIL = ("gmail.com", "googlemail.com")
_NOT_IN_EMAIL = re.compile(r'[<>,;"\\]').search
_OCTETS = frozenset(map(str, range(256)))
_CITY_DROPS = str.maketrans("", "", digits + ".-()")
_PHONE_DROPS = str.maketrans("", "", " -().\t\u00a0\u2010\u2011\u2012\u2013/")
_PUNCTUATION = frozenset(punctuation)
_MIN_PHONE_DIGITS, _MAX_PHONE_DIGITS = 7, 15

_COUNTRIES = """
ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc
cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd
ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh
ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw
mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc
sd se sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy
uz va vc ve vg vi vn vu wf ws ye yt za zm zw
"""
_US_STATES = """
alabama:al alaska:ak arizona:az arkansas:ar california:ca colorado:co connecticut:ct delaware:de
districtofcolumbia:dc washingtondc:dc florida:fl georgia:ga hawaii:hi idaho:id illinois:il indiana:in iowa:ia
kansas:ks kentucky:ky louisiana:la maine:me maryland:md massachusetts:ma michigan:mi minnesota:mn mississippi:ms
missouri:mo montana:mt nebraska:ne nevada:nv newhampshire:nh newjersey:nj newmexico:nm newyork:ny northcarolina:nc
northdakota:nd ohio:oh oklahoma:ok oregon:or pennsylvania:pa rhodeisland:ri southcarolina:sc southdakota:sd
tennessee:tn texas:tx utah:ut vermont:vt virginia:va washington:wa westvirginia:wv wisconsin:wi wyoming:wy
puertorico:pr guam:gu americansamoa:as
"""
_CANADIAN_PROVINCES = """
alberta:ab britishcolumbia:bc manitoba:mb newbrunswick:nb newfoundlandandlabrador:nl newfoundland:nl
northwestterritories:nt novascotia:ns nunavut:nu ontario:on princeedwardisland:pe quebec:qc québec:qc
saskatchewan:sk yukon:yt
"""


def _codes(text: str) -> dict[str, str]:
    pairs = (pair.partition(":") for pair in text.split())
    return {name: code for name, _, code in pairs}


COUNTRIES = frozenset(_COUNTRIES.split())
US_STATES = _codes(_US_STATES)
CANADIAN_PROVINCES = _codes(_CANADIAN_PROVINCES)
_STATES_OF = {"us": US_STATES, "ca": CANADIAN_PROVINCES, None: US_STATES | CANADIAN_PROVINCES}
_NO_CODES: dict[str, str] = {}


def hashed_already(text: str) -> str | None:
    """The text in lower case if it is 64 hex digits: a SHA-256, never to be hashed again."""
    if len(text) != 64:
        return None
    try:
        # Pairs with white space between them are shorter: only 64 digits give 32 bytes.
        return text.lower() if len(bytes.fromhex(text)) == 32 else None
    except ValueError:
        return None


def email(text: str) -> tuple[str, str, str] | None:
    """Plain: trim, lower. Google's: no white space, and for gmail no dots nor +tag. Nodots: that for every domain."""
    plain = tight = text.lower()
    local, _, domain = plain.partition("@")
    if not local or not _dotted(domain) or _NOT_IN_EMAIL(plain) or not plain.isprintable():
        return None
    if " " in plain:
        tight = plain.replace(" ", "")
        local, _, domain = tight.partition("@")
    if "." not in local and "+" not in local:
        return plain, tight, tight
    # Google drops dots and tags in gmail names only, Microsoft and Reddit everywhere, Meta and TikTok nowhere.
    nodots = f"{local.partition('+')[0].replace('.', '') or local}@{domain}"
    return plain, (nodots if domain in _GMAIL else tight), nodots


def _dotted(domain: str) -> bool:
    head, dot, tail = domain.rpartition(".")
    return bool(dot and head and tail and "@" not in domain)


def phone(text: str, region: str | None) -> tuple[str, str] | None:
    """E.164 with its plus, and its digits alone. `region`: the country of a number that has no plus."""
    digits = text[1:]
    if text[0] != "+" or not (digits.isdecimal() and digits.isascii()):
        found = _phone_digits(text, region)
        if found is None:
            return None
        digits, text = found, f"+{found}"
    if not _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS or digits[0] == "0":
        return None
    return text, digits


def _phone_digits(text: str, region: str | None) -> str | None:
    bare = text.lower()
    for extension in ("ext", "x", "#", ";"):
        bare = bare.partition(extension)[0]
    if "+" in bare or bare.startswith("00"):
        bare = bare.replace("(0)", "")  # `+44 (0)20 ...`: that zero is dialled only inside the country.
    bare = bare.translate(_PHONE_DROPS)
    if bare.startswith("00"):
        bare = f"+{bare[2:]}"
    digits = bare.removeprefix("+")
    if not (digits.isdecimal() and digits.isascii()) or len(digits) > 2 * _MAX_PHONE_DIGITS:
        return None
    if bare[0] == "+":
        return digits
    return _national(digits, region) if region else None


def _national(digits: str, region: str) -> str | None:
    import phonenumbers  # Megabytes, needed for numbers without a plus only.

    try:
        number = phonenumbers.parse(digits, region.upper())
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def person_name(text: str) -> tuple[str, str, str] | None:
    """Lower, no punctuation; without white space too; Google's: without digits and symbols too, white space kept."""
    lower = text.lower()
    if lower.isalpha():
        return lower, lower, lower
    plain = "".join(c for c in lower if c not in _PUNCTUATION and unicodedata.category(c)[0] != "P").strip()
    if not plain:
        return None
    google = "".join(c for c in plain if unicodedata.category(c)[0] not in "NSC").strip()
    return plain, "".join(plain.split()), google or plain


def street(text: str) -> tuple[str] | None:
    kept = "".join(c for c in text.lower() if c not in _PUNCTUATION and unicodedata.category(c)[0] not in "PS").strip()
    return (kept,) if kept else None


def city(text: str) -> tuple[str] | None:
    kept = "".join(text.lower().translate(_CITY_DROPS).split())
    return (kept,) if kept else None


def state(text: str, country: str | None) -> tuple[str] | None:
    """US and Canadian names become their codes, unless the country is another; elsewhere the letters."""
    found = city(text)
    if found is None:
        return None
    kept = "".join(c for c in found[0] if c not in _PUNCTUATION)
    return (_STATES_OF.get(country, _NO_CODES).get(kept, kept),) if kept else None


def postal_code(text: str) -> tuple[str, str] | None:
    """Lower, no white space, cut at the first dash; in full: without dashes."""
    tight = "".join(text.lower().split())
    head, dash, _ = tight.partition("-")
    if len(head) < 2:
        return None
    return head, (tight.replace("-", "") if dash else head)


def country(text: str) -> tuple[str] | None:
    """ISO 3166-1 alpha-2 in lower case."""
    code = text.lower()
    return (code,) if code in COUNTRIES else None


def date_of_birth(text: str) -> tuple[str] | None:
    """`YYYYMMDD`, from that or from ISO's `YYYY-MM-DD`, with slashes or dots, a time of day ignored."""
    day = text.partition("T")[0].partition(" ")[0]
    if len(day) == 10 and day[4] == day[7] and day[4] in "-/.":
        day = day[:4] + day[5:7] + day[8:]
    if len(day) != 8 or not (day.isdecimal() and day.isascii()):
        return None
    try:
        date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return None
    return (day,) if "1850" < day[:4] < "2100" else None


def gender(text: str) -> tuple[str] | None:
    first = text.lower()
    return (first[0],) if first in ("f", "m", "female", "male") else None


def external_id(text: str) -> tuple[str, str]:
    """As it is, and in lower case."""
    return text, text.lower()


def address(text: str) -> str | None:
    """An IP address in its usual form; an IPv4 one inside IPv6 by itself."""
    parts = text.split(".")
    if len(parts) == 4 and _OCTETS.issuperset(parts):
        return text
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return None
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
    return str(found)
