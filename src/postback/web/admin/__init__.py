"""The admin API: `/v1/admin/...` with a key, and what any installation has beside it: health, metrics,
`/openapi.json`, `/docs`, `/tag.js`.

Handlers stay thin: they call the rooms below and give their shapes. A handler's signature is the truth: its paths,
parameters, body and answer stand in `/openapi.json` as they are declared.

    application   all of it, put together
    hub           what the handlers of a process share
    access        who calls, and what they may
    signed_in     people, by the dashboard's cookie
    bodies        bodies in and out
    answers       what goes wrong
    pages, spans  lists
    shapes        what several paths answer with
    addresses     private ones are refused
    changes       of the configuration: in turn, written down, never over what the caller has not seen
    keys, workspaces, members, sites, goals, event_types, plans, audit      the paths
    catalog, destinations, blueprints, probe, events, deliveries, replays, conversions, usage, visitors, privacy, find
    own           the workspace that calls, the installation that it is part of
"""
