"""Faults on demand: what goes wrong at a platform, how often, and for how long.

A platform has one fault at a time. `rate` is a probability, `times` the number of requests that it is tried on;
without either it acts on every request until cleared. `match` is text that a request must hold to be tried.
"""

import random
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Mode = Literal["none", "down", "hang", "slow", "429", "500", "auth", "reject_event", "garbage", "reset"]


class Fault(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`delay_ms` is for `slow`; `retry_after`, in seconds, for `429`; `match` for any mode."""

    platform: str
    mode: Mode
    rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    delay_ms: Annotated[int, Meta(ge=0)] = 1000
    retry_after: Annotated[int, Meta(ge=0)] = 1
    match: str = ""


class Unfit(ValueError):
    """The request to the sandbox's own routes is wrong; the text is a sentence for whoever sent it."""


class Faults:
    """The faults in force."""

    def __init__(self, platforms: frozenset[str]) -> None:
        self._platforms = platforms
        self._active: dict[str, Fault] = {}
        self._left: dict[str, int] = {}

    def set(self, body: bytes) -> Fault:
        """Put the fault of a JSON body in force in place of the platform's last one; raises Unfit."""
        fault = _read(body)
        if fault.platform not in self._platforms:
            known = ", ".join(sorted(self._platforms))
            raise Unfit(f"There is no platform '{fault.platform}'; take one of {known}.")
        self.clear(fault.platform)
        if fault.mode != "none":
            self._active[fault.platform] = fault
            if fault.times is not None:
                self._left[fault.platform] = fault.times
        return fault

    def clear(self, platform: str | None = None) -> None:
        """End the platform's fault, or all."""
        for name in [platform] if platform else list(self._active):
            self._active.pop(name, None)
            self._left.pop(name, None)

    def active(self, platform: str) -> Fault | None:
        """The fault in force, whether or not it will act on the next request."""
        return self._active.get(platform)

    def strike(self, platform: str, raw: bytes) -> Fault | None:
        """The fault that befalls this request, if one does; uses up one of its `times`."""
        fault = self._active.get(platform)
        if fault is None or fault.match.encode() not in raw:
            return None
        if platform in self._left:
            self._left[platform] -= 1
            if self._left[platform] == 0:
                self.clear(platform)
        return fault if fault.rate is None or random.random() < fault.rate else None


def _read(body: bytes) -> Fault:
    try:
        return msgspec.json.decode(body, type=Fault)
    except msgspec.ValidationError as error:
        raise Unfit(f"The fault is not understood: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unfit("The body is not JSON; send an object with 'platform' and 'mode'.") from error
