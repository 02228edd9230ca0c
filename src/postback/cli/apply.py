"""`postback apply`, `postback export`: the configuration as a file says, and the file of what is there."""

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from postback import installation
from postback.cli import show
from postback.cli.failures import FAILED, WrongUsage
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import session, workspace
from postback.declared import document, records
from postback.declared import export as exported
from postback.declared.planning import Shown, Step, shown
from postback.declared.records import MadeSecret
from postback.declared.things import Setup, steps
from postback.errors import Conflict, Invalid
from postback.workspaces import audit

_SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


async def apply(
    file: Annotated[
        Path, Parameter(allow_leading_hyphen=True, help="TOML, or JSON of the same shape; - reads stdin.")
    ] = Path("-"),
    place: Place = HERE,
    *,
    prune: Annotated[bool, Parameter(help="Remove what the file does not name.")] = False,
    dry_run: Annotated[bool, Parameter(help="Show what would be done, and do nothing.")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")] = False,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> int:
    """Make the configuration as a file says: shows what changes, asks, does all of it or nothing."""
    settings = place.settings()
    declared = document.read(_content(file))
    async with session(settings) as s:
        owner = await workspace(s.tx, in_workspace)
        sealer = (await installation.open_vault(s.tx, s.settings)).sealer
        setup = Setup(s.settings, lambda reference: _revealed(reference, file))
        found = steps(declared, await records.read(s.tx, sealer, owner.id), setup, prune=prune)
        if not as_json:
            _show_steps(found)
        if dry_run or not found:
            return _end(found, [], as_json)
        if not yes and not _agrees():
            show.say("Nothing was done.")
            return FAILED
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            state = await records.read(s.tx, sealer, owner.id)
            current = steps(declared, state, setup, prune=prune)
            if [shown(step) for step in current] != [shown(step) for step in found]:
                raise Conflict("The configuration was changed meanwhile; nothing was done. Apply again.")
            made = await records.carry_out(change, sealer, state, current)
    return _end(found, made, as_json, is_done=True)


async def export(place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Write the configuration as a file for `postback apply`; secrets are not in it."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        sealer = (await installation.open_vault(s.tx, s.settings)).sealer
        text = exported.text(await records.read(s.tx, sealer, owner.id))
    if as_json:
        show.as_json(msgspec.Raw(document.as_json(text.encode())))
    else:
        sys.stdout.write(text)
        sys.stdout.flush()


def _content(file: Path) -> bytes:
    if str(file) != "-":
        return file.read_bytes()
    if sys.stdin.isatty():
        raise WrongUsage("Name a file; `postback export` writes one.")
    return sys.stdin.buffer.read()


def _revealed(reference: str, declared_in: Path) -> str:
    """The value that `env:NAME` or `file:PATH` stands for; a path is from the folder of the file that names it."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        if not value:
            raise Invalid(f"The variable {name} is not set; set it to this secret.")
        return value
    folder = Path() if str(declared_in) == "-" else declared_in.parent
    try:
        value = (folder / name).read_text().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(f"The file {name} cannot be read ({why}); it must hold this secret.") from None
    if not value:
        raise Invalid(f"The file {name} is empty; it must hold this secret.")
    return value


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody is there to be asked: --yes does it, --dry-run only shows it.")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def _end(found: list[Step], made: list[MadeSecret], as_json: bool, *, is_done: bool = False) -> int:
    if as_json:
        show.as_json({"applied": is_done, "steps": [shown(step) for step in found], "made": made})
        return 0
    if not found:
        show.say("Nothing to do: all is as the file says.")
    elif is_done:
        show.say(f"Done: {len(found)} {'change' if len(found) == 1 else 'changes'}.")
    for secret in made:
        show.say(f"The {secret.field} of {secret.destination}, which was made and is shown this once: {secret.value}")
    return 0


def _show_steps(found: list[Step]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else show.WIDTH_IN_FILES, highlight=False, soft_wrap=True)
    for step in map(shown, found):
        sign, colour = _SIGNS[step.action]
        console.print(Text(f"{sign} {step.noun} {step.name}", style=colour))
        if step.action != "remove":
            for line in _lines(step):
                console.print(Text(f"    {line}", style=colour))


def _lines(step: Shown) -> list[str]:
    """`field: value`, or `field: before -> after`. A secret that is changed reads alike on both sides."""
    if step.action == "create":
        return [f"{name}: {_text(after)}" for name, (_, after) in step.fields.items()]
    return [f"{name}: {_text(before)} -> {_text(after)}" for name, (before, after) in step.fields.items()]


def _text(value: object) -> str:
    return msgspec.json.Encoder(decimal_format="number").encode(value).decode()
