"""The ledger's schema, as the steps that lead to it."""
