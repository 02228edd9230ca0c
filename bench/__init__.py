"""The benchmark: starts everything itself, prints one table, writes docs/benchmarks.md. Run as `python -m bench`.

    plan        how long, how often, how much: full, or QUICK=1
    idle, intake, drain, stored: what is measured, one part each
    serve       Postback as users start it          baseline    what a good engineer writes in a day
    bare        the least an ASGI server can do     client      the least an aiohttp client can do
    sink        a platform that takes everything    load        wrk, or autocannon, in its own process
    database    the bundled PostgreSQL              process     programs we start, and their end
    resources   memory and CPU, from /proc          machine     what it ran on
    report      rows, targets, the page

Both sides of a comparison run on the same server, take turns (A B A B ...) and are told by medians, so that what else
the machine does falls on both.
"""
