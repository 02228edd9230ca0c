"""What `init` prints, as `serve` and `demo` read it, and how it is told to people."""

from msgspec import Struct

from postback.cli import show


class Held(Struct, frozen=True):
    """A destination that sends nothing until somebody acts."""

    id: str
    name: str
    reason: str
    fix: str


class Installed(Struct, frozen=True):
    """An installation. Keys and password are there once: when it was made; `held` later."""

    workspace: str
    organization_id: str
    site: str
    site_key: str
    already: bool = False
    api_key: str = ""
    admin_key: str = ""
    owner_email: str = ""
    owner_password: str = ""
    held: list[Held] = []

    def say(self) -> None:
        if self.already:
            show.say("Postback is set up; its keys and password were shown at the first start.")
            self.say_held()
            return
        show.say("Postback is set up. These are shown this once:\n")
        for name, value in (
            ("owner", f"{self.owner_email}  {self.owner_password}"),
            ("ingest key", self.api_key),
            ("admin key", self.admin_key),
            ("site key", self.site_key),
            ("workspace", self.workspace),
        ):
            show.say(f"  {name:<11} {value}")
        show.say()

    def say_held(self) -> None:
        for one in self.held:
            then = f"Then `postback destinations resume {one.id}`."
            show.say(f"{one.name} is held and sends nothing: {one.reason.rstrip('.')}. {one.fix} {then}")
