"""`demo`: what it prints runs as it stands, what is sent arrives at the stand-ins, and nothing is left of it."""

import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sh_text(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def sh(command: str) -> Any:
    return json.loads(sh_text(command))


def test_its_curl_runs_as_printed_and_the_event_arrives_at_every_platform(
    start: Callable[..., Any], eventually: Any
) -> None:
    before = set(Path(tempfile.gettempdir()).glob("postback-demo-*"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        demo = start("demo", "--port", port, "--sandbox-port", port, "--events-per-second", "0.5")
        demo.wait_for("Ctrl-C ends")
    printed = "".join(demo.lines)
    send, watch = re.findall(r"^curl (?:.*\\\n)*.*$", printed, re.MULTILINE)
    assert f":{port}/" not in send
    assert "\x1b" not in printed

    receipt = sh(send)
    assert receipt["status"] == "accepted"
    installed = ["convert", "ga4", "google_ads", "meta", "tiktok", "webhook"]
    assert sorted(d["connector"] for d in receipt["destinations"]) == installed

    def arrived(platform: str) -> bool:
        requests = sh(watch.replace("platform=meta", f"platform={platform}"))["requests"]
        return any(receipt["event_id"] in request["raw"] and request["status"] < 300 for request in requests)

    for platform in ("meta", "google_ads", "tiktok", "webhook"):
        eventually(lambda platform=platform: arrived(platform), because=lambda: "".join(demo.logs))
    for platform in ("ga4", "convert"):
        eventually(lambda platform=platform: sh(watch.replace("meta", platform))["requests"])
    # There are weeks to look back on, of which nothing was sent.
    [url] = re.findall(r"^Postback +(http\S+)", printed, re.MULTILINE)
    [admin] = re.findall(r"^  admin key +(\S+)", printed, re.MULTILINE)
    kept = sh(f"curl -sS -H 'Authorization: Bearer {admin}' '{url}/v1/admin/conversions?limit=500'")
    assert len([one for one in kept["items"] if one["event_id"].startswith("history-")]) > 300
    assert "history-" not in sh_text(watch.replace("platform=meta", "platform=webhook"))
    # The shop's page has the tag; its backend posts orders with the visitor's id.
    [shop] = re.findall(r"^a shop +(\S+)", printed, re.MULTILINE)
    assert "/tag.js" in sh_text(f"curl -sS {shop}/lamp")
    assert "Order shop-1" in sh_text(f"curl -sS {shop}/buy -d product=lamp -d visitorId=v_demo -d sessionId=s_demo")
    eventually(lambda: "v_demo" in sh_text(watch.replace("platform=meta", "platform=webhook")))
    assert demo.end() == 0
    assert set(Path(tempfile.gettempdir()).glob("postback-demo-*")) <= before
