"""The contract documents' own examples, read at run time from the folder POSTBACK_CONTRACT_DOCUMENTS."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from tests.contracts.clients import read_curl

FOLDER = os.environ.get("POSTBACK_CONTRACT_DOCUMENTS")


def text_of(document: str) -> str:
    return (Path(str(FOLDER)) / document).read_text()


def curls(document: str) -> list[str]:
    return re.findall(r"curl -X POST[\s\S]*?\}'", text_of(document))


def scripts(document: str, opening: str) -> list[str]:
    """The example scripts of a document: from what `opening` matches, a bracket at its end, to where that is closed."""
    text = text_of(document)
    found: list[str] = []
    for match in re.finditer(opening, text):
        end, depth = match.end(), 1
        while depth:
            depth += (text[end] in "([{") - (text[end] in ")]}")
            end += 1
        found.append(text[match.start() : end])
    return found


def ours(example: str, served: Any, place: tuple[str, str], key: str | None = None) -> str:
    """With our host and key (an ingest key, unless it is named) for theirs."""
    host, theirs = place
    return example.replace(host, served.url).replace(theirs, key or served.keys.api_key)


async def run(example: str, served: Any, place: tuple[str, str], key: str | None = None) -> tuple[int, Any]:
    """Status and JSON of a curl example."""
    command = ours(example, served, place, key).replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1)
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    return read_curl((await process.communicate())[0])
