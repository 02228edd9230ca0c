"""Blueprints: which of the hub's events becomes which event of a platform, and with what.

filters     conditions on an event, in CEL; goals use them too
syntax      what a filter's text may hold
"""
