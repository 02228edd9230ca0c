"""Postback: a self-hosted hub for server-side conversions, on PostgreSQL alone."""

__version__ = "0.1.0"
