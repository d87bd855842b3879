"""The single-file program that runs inside the project's own interpreter."""
