"""The benchmark: starts everything itself, prints one table, writes docs/benchmarks.md. Run as `python -m bench`.

    plan                           how long, how often, how much: full, or QUICK=1
    idle, intake, drain, stored    what is measured, one part each
    dashboard                      its pages, over what `stored` left
    serve                          Postback as users start it
    baseline                       what a good engineer writes in a day
    bare, client                   the least an ASGI server and an aiohttp client can do
    sink                           a platform that takes everything
    load, autocannon, event        the load generator, and what it sends
    database, process              the bundled PostgreSQL; programs we start, and their end
    resources, machine             memory and CPU from /proc; what it ran on
    report, page                   rows and targets; docs/benchmarks.md

Both sides of a comparison run on the same server, take turns (A B A B ...) and are told by medians, so that what else
the machine does falls on both.
"""
