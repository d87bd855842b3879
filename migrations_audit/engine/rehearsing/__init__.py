"""Playing a plan on a throw-away copy of its target: the copy, what the runner sees there, and what follows from it."""
