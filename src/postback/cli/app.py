"""All commands. Each is imported when it is called, so that none pays for another's libraries."""

from collections.abc import Sequence

from cyclopts import App, Parameter

from postback import __version__

app = App(
    name="postback",
    help="A hub for server-side conversions, on PostgreSQL alone.",
    version=__version__,
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
    default_parameter=Parameter(negative=(), show_default=False),
    usage="postback COMMAND [OPTIONS]",
)
_HERE = "postback.cli"
_MODULES = {"backfill": "replay", "export": "apply"}
for _name, _help in {
    "serve": "Everything in one: PostgreSQL unless one is given, the API, the worker.",
    "init": "Create the tables and, once, workspace, site, owner and keys.",
    "demo": "Everything on a scratch folder, with stand-ins for the platforms and made-up traffic.",
    "sandbox": "The platforms' stand-ins.",
    "send": "Send an event and follow its deliveries.",
    "tail": "Show events and outcomes as they come.",
    "replay": "Send settled deliveries again.",
    "backfill": "Give a destination deliveries of past events.",
    "apply": "Make the configuration as a file says.",
    "export": "Write the configuration as such a file.",
    "ledger": "Show that all that was accepted is accounted for.",
    "usage": "Billable events of a month, against the plans.",
    "doctor": "Check the installation, and say what to fix.",
}.items():
    app.command(f"{_HERE}.{_MODULES.get(_name, _name)}:{_name}", name=_name, help=_help)
for _name, _help in {"api": "Answer HTTP", "worker": "Deliver"}.items():
    app.command(f"{_HERE}.single:{_name}", name=_name, help=f"{_help} against a database of your own.")

keys = App(name="keys", help="API keys: make, list, replace, revoke.")
sites = App(name="sites", help="Sites: make, list, change, remove.")
goals = App(name="goals", help="Goals: make, list, change, remove.")
destinations = App(name="destinations", help="Destinations: install, list, pause, resume, probe.")
privacy = App(name="privacy", help="A person: erase, export; verify a receipt.")
db = App(name="db", help="The database: migrate, back up, restore.")
for _group, _commands in (
    (keys, {"create": "create", "list": "list_all", "rotate": "rotate", "revoke": "revoke"}),
    (sites, {"create": "create", "list": "list_all", "change": "change", "remove": "remove"}),
    (goals, {"create": "create", "list": "list_all", "change": "change", "remove": "remove"}),
    (
        destinations,
        {"install": "install", "list": "list_all", "pause": "pause", "resume": "resume", "probe": "probe"},
    ),
    (privacy, {"erase": "erase", "export": "export", "verify": "verify"}),
    (db, {"migrate": "migrate", "backup": "backup", "restore": "restore"}),
):
    app.command(_group)
    for _name, _function in _commands.items():
        _group.command(f"{_HERE}.{_group.name[0]}:{_function}", name=_name)


def run(arguments: Sequence[str]) -> int:
    """Run a command and give its exit code. Raises CycloptsError where the arguments are wrong."""
    code = app(list(arguments))
    return code if isinstance(code, int) else 0
