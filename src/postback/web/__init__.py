"""The web: one ASGI application. Ingest routes have no framework between the wire and intake; the admin API stands
beside them.

    wire      bodies in, answers out: limits, gzip, slow senders
    ingest    the dialects' paths
    app       the dispatcher, and what a process holds while it serves
    server    uvicorn
"""
