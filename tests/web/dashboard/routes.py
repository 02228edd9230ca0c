"""The dashboard's routes, as they are."""

from litestar import Litestar
from litestar.di import Provide

from postback.web import dashboard

_app = Litestar(
    [dashboard.router()], dependencies={"hub": Provide(lambda: None, sync_to_thread=False)}, openapi_config=None
)
# Method and path, with the names of its parameters.
ROUTES = [
    (method, route.path_format)
    for route in _app.routes
    for method in sorted(getattr(route, "methods", set()) - {"OPTIONS", "HEAD"})
]
