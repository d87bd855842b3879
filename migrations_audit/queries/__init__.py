"""Reads that span models, shaped for the faces. Nothing here writes, and nothing here knows a request."""
