"""Adapters between tables and other frameworks; no engine of their own."""
