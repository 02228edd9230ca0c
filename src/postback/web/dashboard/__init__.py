"""The dashboard: pages under `/app`, rendered here, of what the admin API's own handlers answer.

    view       one request of a page: who looks, and what they may; `ask` calls the admin API's handlers
    forms      what was typed, as the API's bodies
    render     templates, times, money, the headers of a page
    problems   what goes wrong, as a page
    static     style, script, icons
    signing    signing in and out, joining, one's own account
    overview, start, live, records, people, library, integrations, blueprints, replays, things, keys, members, privacy,
    settings      the pages

Reading and forms work without JavaScript; htmx loads parts anew by itself.
"""

from litestar import Router, get
from litestar.di import Provide
from litestar.params import FromPath

from postback.errors import NotFound
from postback.web.dashboard import (
    blueprints,
    integrations,
    keys,
    library,
    live,
    members,
    overview,
    people,
    privacy,
    problems,
    records,
    replays,
    settings,
    signing,
    start,
    static,
    things,
)
from postback.web.dashboard.view import require_person, view_of

PREFIX = "/app"
_PAGES = (
    overview, start, live, records, people, library, integrations, blueprints, replays, things, keys, members, privacy,
    settings,
)  # fmt: skip


@get("/{rest:path}")
async def nothing(rest: FromPath[str]) -> None:
    """Whatever has no page."""
    raise NotFound("There is no such page.")


def router() -> Router:
    """All pages; those of `signing` guard themselves."""
    pages = Router(
        "/", route_handlers=[*(h for page in _PAGES for h in page.HANDLERS), nothing], guards=[require_person]
    )
    return Router(
        PREFIX,
        route_handlers=[*static.HANDLERS, *signing.HANDLERS, pages],
        dependencies={"view": Provide(view_of, sync_to_thread=False)},
        exception_handlers=problems.HANDLERS,
    )
