"""What to know before a plan is approved, read from its SQL and its scripts. Nothing of the project is executed."""
