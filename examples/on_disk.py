"""A queue on disk: `send` returns at once even while Postback is away, and what waits is sent later."""

import os
import tempfile
from pathlib import Path

from postback.client import Client

folder = Path(tempfile.gettempdir()) / "postback-example-queue"

# An address where nobody answers stands for a Postback that is away.
away = Client("http://127.0.0.1:9", os.environ["POSTBACK_KEY"], queue=folder)
receipt = away.send({"event": "lead", "event_id": "lead-7"})
print(receipt.status)  # queued: it is on disk, and survives a crash

# Later, or in another process: a cron job, or the start of your program.
client = Client(os.environ["POSTBACK_URL"], os.environ["POSTBACK_KEY"], queue=folder)
done = client.flush()
print(f"{done.sent} sent, {done.left} left, {len(done.refused)} refused")
