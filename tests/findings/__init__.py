"""For every rule of ``engine/findings/rules.py`` something that breaks it, and something like it that does not."""
