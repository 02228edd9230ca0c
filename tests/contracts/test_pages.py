"""The curl commands of the dialects' pages, run as they stand in a shell: only the address is substituted."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.clients import read_curl

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["convultra", "roasproof", "segment", "selektable", "velaro"]


@pytest.mark.usefixtures("goal")
async def test_the_commands_of_every_dialects_page_work(served: Any) -> None:
    keys = served.keys
    shown = {"INGEST_KEY": keys.api_key, "SITE_KEY": keys.site_key, "ORGANIZATION_ID": keys.organization_id}
    for page in PAGES:
        commands = re.findall(r"```bash\n(curl [\s\S]*?)```", (DOCS / f"{page}.md").read_text())
        assert commands, page
        for command in commands:
            process = await asyncio.create_subprocess_shell(
                command.replace("http://127.0.0.1:8080", served.url).replace(
                    "curl", "curl -sS -w '\\n%{http_code}'", 1
                ),
                env=os.environ | shown,
                stdout=asyncio.subprocess.PIPE,
            )
            status, answer = read_curl((await process.communicate())[0])
            assert status in (200, 202), (page, answer)
            assert "rejected" not in answer, (page, answer)
