"""Bulk SMS campaigns: planned into a ledger, sent exactly once under each provider's limits, accounted for in full."""

__version__ = "0.1.0"
