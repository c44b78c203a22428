"""Sizes and offsets as a compiler laid them down in an object's BTF."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_uint32, c_void_p
from pathlib import Path

_STRUCT = 4
_HEADER, _MEMBER = 3, 3  # words


class Btf:
    """The BTF of one object, read by libbpf."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL("libbpf.so.1")
        for name, result, arguments in (
            ("btf__parse", c_void_p, (c_char_p, c_void_p)),
            ("btf__find_by_name_kind", c_int, (c_void_p, c_char_p, c_uint32)),
            ("btf__type_by_id", POINTER(c_uint32), (c_void_p, c_uint32)),
            ("btf__name_by_offset", c_char_p, (c_void_p, c_uint32)),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._pointer = self._library.btf__parse(str(path).encode(), None)
        assert self._pointer, path

    def struct(self, name: str) -> tuple[int, dict[str, int]]:
        """The size of a struct and the offset of each member, in bytes."""
        number = self._library.btf__find_by_name_kind(self._pointer, name.encode(), _STRUCT)
        assert number > 0, f"the object has no {name}"
        words = self._library.btf__type_by_id(self._pointer, number)
        members = range(_HEADER, _HEADER + (words[1] & 0xFFFF) * _MEMBER, _MEMBER)
        return int(words[2]), {self._name(words[at]): int(words[at + 2]) // 8 for at in members}

    def _name(self, offset: int) -> str:
        return bytes(self._library.btf__name_by_offset(self._pointer, offset)).decode()
