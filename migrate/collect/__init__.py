"""Reads a node where it stands: writes the raw files of a dump, and never changes anything on the node."""
