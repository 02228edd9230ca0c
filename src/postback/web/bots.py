"""Which user agents are programs that say so. What browses as a person does is told by `navigator.webdriver` alone,
which the tag sends."""

import re
from functools import lru_cache

# Words that a user agent holds, in lower case.
WORDS = (
    "bot", "crawl", "spider", "slurp", "headless", "phantomjs", "selenium", "puppeteer", "playwright", "lighthouse",
    "pagespeed", "gtmetrix", "pingdom", "uptime", "statuscake", "site24x7", "datadogsynthetics", "newrelicsynthetics",
    "facebookexternalhit", "telegrambot", "skypeuripreview", "bingpreview", "google-read-aloud",
    "google-inspectiontool", "mediapartners-google", "adsbot", "apis-google", "feedfetcher", "ahrefs", "semrush",
    "screaming frog",
    "python-requests", "python-urllib", "aiohttp", "httpx", "curl/", "wget/", "go-http-client", "okhttp",
    "java/", "libwww-perl", "node-fetch", "axios/", "postmanruntime", "scrapy", "prerender", "chatgpt-user", "gptbot",
    "claudebot", "perplexity", "ccbot", "bytespider", "archive.org",
)  # fmt: skip
# A phone of this maker says so in its user agent.
_NO_BOT = re.compile(r"\bcubot\b")
# WhatsApp's previews begin with its name; a person's browser inside it begins as all browsers do.
_KNOWN = re.compile("|".join(("^whatsapp/", *map(re.escape, WORDS))))


@lru_cache(4096)
def is_bot(user_agent: str | None) -> bool:
    """Whether this is a program; none at all is one too."""
    return not user_agent or _KNOWN.search(_NO_BOT.sub("", user_agent.lower())) is not None
