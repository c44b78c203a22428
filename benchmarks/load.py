"""Reads folders of YAML as the program does, and does nothing with them: `python -m benchmarks.load FOLDER...`."""

from __future__ import annotations

import sys

from migrate.scan.files import read_files

if __name__ == "__main__":
    for folder in sys.argv[1:]:
        read_files([folder], None)
