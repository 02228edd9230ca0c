"""`postback sandbox`: the platforms' stand-ins, in the foreground."""

from typing import Annotated

from cyclopts import Parameter

from postback.cli.failures import WrongUsage


def sandbox(
    *,
    host: Annotated[str, Parameter(help="Address to listen on. [127.0.0.1]")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on; 0: a free one, told on stderr. [9090]")] = 9090,
) -> None:
    """Stand in for the ad platforms: /meta, /ga4, /webhook ...; what arrived is at /_sandbox/requests."""
    from postback import sandbox as stand_ins

    try:
        stand_ins.run(host, port)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise WrongUsage(f"Cannot listen on {host}:{port} ({said}); give another --port.") from None
