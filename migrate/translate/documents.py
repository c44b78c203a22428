"""translation.json: read and written."""

from __future__ import annotations

from pathlib import Path

import msgspec

from migrate.errors import InputError
from migrate.model.documents import Translation

TRANSLATION = "translation.json"


def encode(translation: Translation) -> bytes:
    """The document as it is written: indented JSON, the same bytes for the same value."""
    return msgspec.json.format(msgspec.json.encode(translation), indent=2) + b"\n"


def read_translation(path: Path) -> Translation:
    """The document at `path`. Raises InputError when it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Translation)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; run migrate translate first") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: no translation ({error}); move it and cilium/ away, then run migrate translate again"
        ) from error
