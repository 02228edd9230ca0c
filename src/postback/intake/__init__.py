"""Intake: from a parsed request to a committed event, many requests in one transaction.

`directory` knows who may send what where (a snapshot of each workspace's configuration), `judge` turns a raw event into
one that is safe to write, `writer` commits what waits and answers. Nothing after the commit can lose an event; nothing
before it has happened.

Table of its own: dedup.
"""
