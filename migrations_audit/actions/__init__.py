"""Every write. One verb, one function: keyword-only, with its actor, in one transaction, leaving its audit event."""
