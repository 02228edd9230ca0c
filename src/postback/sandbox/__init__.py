"""The platforms' stand-ins: what a connector meets where the real platform would be, on one port.

Alone: imports nothing of ours, so that it can disagree with the connectors. Each platform is one file
(`meta.py`), written from its page in `reference/destinations/`, and answers at its own prefix
(`/meta/v26.0/123/events`). To add one, add its file with a `PLATFORM`; nothing else is touched.

Watch and steer it at `/_sandbox`: see `server.py` for the routes, `faults.py` for what can go wrong on demand,
`records.py` for what is remembered.
"""

from postback.sandbox.platform import Answer, Json, Platform, Problem, Refusal, Request
from postback.sandbox.server import Running, run, start

__all__ = ["Answer", "Json", "Platform", "Problem", "Refusal", "Request", "Running", "run", "start"]
