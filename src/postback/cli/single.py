"""`postback api`, `postback worker`: one role against a database of your own, any number of them."""

from typing import Annotated

from cyclopts import Parameter

from postback.cli import roles, serve
from postback.cli.options import HERE, LISTENING, Listening, Place


def api(
    place: Listening = LISTENING,
    *,
    fd: Annotated[int | None, Parameter(help="Number of an inherited listening socket, in place of --port.")] = None,
) -> None:
    """Answer HTTP against --database-url; runs in the foreground."""
    settings = place.settings()
    if fd is not None:
        roles.serve_api(settings, roles.inherited(fd))
        return
    with serve.listen(settings) as listening:
        roles.serve_api(settings, listening)


def worker(place: Place = HERE) -> None:
    """Deliver against --database-url; runs in the foreground."""
    roles.work(place.settings())
