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
accounts = App(name="accounts", help="People who sign in: list them, give one a new password.")
privacy = App(name="privacy", help="A person: erase, export; verify a receipt.")
db = App(name="db", help="The database: migrate, back up, restore.")
_MAKE, _LIST, _REMOVE = "Make one.", "List them.", "Remove one; what it took stays."
for _group, _commands in (
    (
        keys,
        {
            "create": "Make a key and print it, once.",
            "list": "List keys, and when each was last used.",
            "rotate": "Give a key a new text; the old one works for a grace.",
            "revoke": "End a key at once.",
        },
    ),
    (sites, {"create": _MAKE, "list": _LIST, "change": "Change one.", "remove": _REMOVE}),
    (goals, {"create": _MAKE, "list": _LIST, "change": "Change one.", "remove": _REMOVE}),
    (
        destinations,
        {
            "install": "Connect a platform.",
            "list": "List them, with state and what to do.",
            "pause": "Stop sending; go on queueing.",
            "resume": "Send again, what waited first.",
            "probe": "Ask the platform whether the credentials are right.",
        },
    ),
    (
        accounts,
        {"list": "List them, and what each is where.", "reset-password": "Give one a new password and print it, once."},
    ),
    (
        privacy,
        {
            "erase": "Erase a person, with a signed receipt.",
            "export": "Write all that is stored of a person.",
            "verify": "Say whether a receipt is genuine.",
        },
    ),
    (
        db,
        {
            "migrate": "Bring the tables up to date.",
            "backup": "Write a dump of the database.",
            "restore": "Load a dump into an empty database.",
        },
    ),
):
    app.command(_group)
    for _name, _help in _commands.items():
        _function = {"list": "list_all"}.get(_name, _name).replace("-", "_")
        _group.command(f"{_HERE}.{_group.name[0]}:{_function}", name=_name, help=_help)


def run(arguments: Sequence[str]) -> int:
    """Run a command and give its exit code. Raises CycloptsError where the arguments are wrong."""
    code = app(list(arguments))
    return code if isinstance(code, int) else 0
