"""Reads nodes where they stand, by their own programs, by pods for a moment or by NPM; never changes one."""
