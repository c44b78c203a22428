"""The part of libbpf.so.1 that the probe needs, by ctypes."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p, create_string_buffer
from functools import cache
from pathlib import Path

from migrate.audit.kernel import ProbeError

NO_PREALLOCATION = 1
ARRAY, ARRAY_OF_MAPS = 2, 12
_NO_SUCH_ENTRY = errno.ENOENT
_ENUM, _ENUM_BEGINS = 6, 3

_SIGNATURES: Mapping[str, tuple[type | None, tuple[object, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__set_map_flags": (c_int, (c_void_p, c_uint32)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_query": (c_int, (c_int, c_int, c_uint32, POINTER(c_uint32), c_void_p, POINTER(c_uint32))),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_link_update": (c_int, (c_int, c_int, c_void_p)),
    "bpf_link_detach": (c_int, (c_int,)),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (POINTER(c_uint32), (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
}
_Printer = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


class _MapOptions(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("btf", c_uint32 * 4),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
    )


class _LinkOptions(ctypes.Structure):
    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("unused", c_uint32))


class _RunOptions(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class KernelRefusalError(OSError):
    """The kernel or libbpf refused a call; `errno` says why."""


class _Library:
    """The loaded library, and what it printed since it was last asked."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise ProbeError(
                f"libbpf.so.1 cannot be loaded ({error}); install libbpf (Debian, Ubuntu: libbpf1), or use --loader bcc"
            ) from error
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._printed: list[str] = []
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
        self._printer = _Printer(self._print)
        self._library.libbpf_set_print(self._printer)

    def _print(self, level: int, text: bytes, arguments: int) -> int:
        buffer = create_string_buffer(65_536)
        self._format(buffer, len(buffer), text, arguments)
        self._printed.append(buffer.value.decode(errors="replace"))
        return 0

    def said(self) -> list[str]:
        """The lines that were printed since the last call."""
        lines = "".join(self._printed).splitlines()
        self._printed.clear()
        return lines

    def number(self, name: str, *arguments: object) -> int:
        """A call that gives a number, or below 0 an error. Raises KernelRefusalError."""
        result = getattr(self._library, name)(*arguments)
        if result < 0:
            code = -result if result < -1 else ctypes.get_errno() or -result
            raise KernelRefusalError(code, f"{name}: {os.strerror(code)}")
        return int(result)

    def pointer(self, name: str, *arguments: object) -> int:
        """A call that gives a pointer; 0 for none."""
        return getattr(self._library, name)(*arguments) or 0

    def text(self, name: str, pointer: int) -> str:
        """A call that gives a name."""
        return bytes(getattr(self._library, name)(pointer)).decode()

    def close(self, pointer: int) -> None:
        """Free an object."""
        self._library.bpf_object__close(pointer)

    def enum(self, name: str) -> dict[str, int]:
        """The numbers of an enum of the running kernel; empty where its BTF has none."""
        btf = self.pointer("btf__load_vmlinux_btf")
        if not btf:
            return {}
        try:
            number = self._library.btf__find_by_name_kind(btf, name.encode(), _ENUM)
            if number < 0:
                return {}
            words = self._library.btf__type_by_id(btf, number)
            places = range(_ENUM_BEGINS, _ENUM_BEGINS + (words[1] & 0xFFFF) * 2, 2)
            return {self._library.btf__name_by_offset(btf, words[at]).decode(): words[at + 1] for at in places}
        finally:
            self._library.btf__free(btf)


@cache
def library() -> _Library:
    """The library of this process. Raises ProbeError when the machine has none."""
    return _Library()


class Map:
    """A map of the kernel by its descriptor, which it owns. Keys and values are bytes."""

    def __init__(self, descriptor: int) -> None:
        info = object_info(descriptor)
        self.descriptor = descriptor
        self.kind, self.key_size, self.value_size, self.entries, self.flags = (
            int.from_bytes(info[at : at + 4], "little") for at in (0, 8, 12, 16, 20)
        )

    def get(self, key: bytes, size: int = 0) -> bytes | None:
        """The value of a key; `size` where it is not that of the map, as in per-CPU maps."""
        value = create_string_buffer(size or self.value_size)
        try:
            library().number("bpf_map_lookup_elem", self.descriptor, key, value)
        except KernelRefusalError as error:
            if error.errno == _NO_SUCH_ENTRY:
                return None
            raise
        return value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        library().number("bpf_map_update_elem", self.descriptor, key, value, 0)

    def batches(self, size: int = 4096) -> Iterator[list[tuple[bytes, bytes]]]:
        """All entries, in batches that are read by one call each."""
        keys, values = create_string_buffer(self.key_size * size), create_string_buffer(self.value_size * size)
        token, more, first = create_string_buffer(max(self.key_size, 8)), True, True
        while more:
            count = c_uint32(size)
            try:
                start = None if first else token
                library().number(
                    "bpf_map_lookup_batch", self.descriptor, start, token, keys, values, byref(count), None
                )
            except KernelRefusalError as error:
                if error.errno != _NO_SUCH_ENTRY:
                    raise
                more = False
            first = False
            if count.value:
                yield list(
                    zip(_pieces(keys, self.key_size, count), _pieces(values, self.value_size, count), strict=True)
                )

    def delete(self, keys: list[bytes]) -> None:
        """Remove these entries; those that are gone already are fine."""
        data, done = b"".join(keys), 0
        buffer = create_string_buffer(data, max(len(data), 1))
        while done < len(keys):
            count = c_uint32(len(keys) - done)
            start = ctypes.addressof(buffer) + done * self.key_size
            try:
                library().number("bpf_map_delete_batch", self.descriptor, start, byref(count), None)
            except KernelRefusalError as error:
                if error.errno != _NO_SUCH_ENTRY:
                    raise
                done += 1
            done += count.value

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)


def _pieces(buffer: ctypes.Array[ctypes.c_char], size: int, count: c_uint32) -> list[bytes]:
    data = ctypes.string_at(buffer, size * count.value)
    return [data[at : at + size] for at in range(0, len(data), size)]


class BpfObject:
    """A compiled object. Between opening and loading its maps can be changed."""

    def __init__(self, path: Path) -> None:
        self._pointer = library().pointer("bpf_object__open_file", os.fsencode(path), None)
        if not self._pointer:
            raise ProbeError(f"{path}: libbpf cannot read it: {_last_words(library().said())}")

    def names(self, kind: str) -> list[str]:
        """The names of its "map"s or "program"s."""
        found, pointer = [], library().pointer(f"bpf_object__next_{kind}", self._pointer, None)
        while pointer:
            found.append(library().text(f"bpf_{kind}__name", pointer))
            pointer = library().pointer(f"bpf_object__next_{kind}", self._pointer, pointer)
        return found

    def set_entries(self, name: str, entries: int) -> None:
        """Before loading: how many entries a map has."""
        library().number("bpf_map__set_max_entries", self._find("map", name), entries)

    def set_flags(self, name: str, flags: int) -> None:
        """Before loading: the flags of a map."""
        library().number("bpf_map__set_map_flags", self._find("map", name), flags)

    def reuse(self, name: str, existing: Map) -> None:
        """Before loading: use a map that is there already, with its size and flags."""
        library().number("bpf_map__reuse_fd", self._find("map", name), existing.descriptor)

    def load(self) -> None:
        """Into the kernel. Raises KernelRefusalError with the line of the verifier or of libbpf that matters."""
        library().said()
        try:
            library().number("bpf_object__load", self._pointer)
        except KernelRefusalError as error:
            raise KernelRefusalError(error.errno, _last_words(library().said()) or str(error.strerror)) from None

    def map(self, name: str) -> Map:
        """A loaded map, with a descriptor of its own."""
        return Map(os.dup(library().number("bpf_map__fd", self._find("map", name))))

    def program(self, name: str) -> int:
        """The descriptor of a loaded program; it is the object's."""
        return library().number("bpf_program__fd", self._find("program", name))

    def close(self) -> None:
        """Let go of all its descriptors."""
        if self._pointer:
            library().close(self._pointer)
            self._pointer = 0

    def _find(self, kind: str, name: str) -> int:
        pointer = library().pointer(f"bpf_object__find_{kind}_by_name", self._pointer, name.encode())
        if not pointer:
            raise ValueError(f"the object has no {kind} {name}")
        return pointer


def _last_words(lines: list[str]) -> str:
    """The line that says why a load failed: the verifier's last before its statistics, or libbpf's last."""
    verifier = (
        "processed ",
        "-- END PROG LOAD LOG",
        "verification time",
        "stack depth",
        "mark_precise",
        "failed to load object",
    )
    told = [line.removeprefix("libbpf: ") for line in lines if line.strip()]
    ends = [number for number, line in enumerate(told) if "-- END PROG LOAD LOG" in line]
    before = told[: ends[0]] if ends else told
    wanted = [line for line in before if not line.startswith(verifier)]
    if not wanted:
        return ""
    left_out = len(told) - 1
    return wanted[-1].strip() + (f" ({left_out} more lines of libbpf left out)" if left_out else "")


def object_info(descriptor: int) -> bytes:
    """The kernel's description of a map, program or link: 256 bytes, zero where the kernel knows less."""
    info, size = create_string_buffer(256), c_uint32(256)
    library().number("bpf_obj_get_info_by_fd", descriptor, info, byref(size))
    return info.raw


def create_map(kind: int, name: str, inner: Map | None = None) -> Map:
    """A map of one entry of 4 bytes each."""
    options = _MapOptions(sz=ctypes.sizeof(_MapOptions), inner_map_fd=inner.descriptor if inner else 0)
    return Map(library().number("bpf_map_create", kind, name.encode(), 4, 4, 1, byref(options) if inner else None))


def kernel_enum(name: str) -> dict[str, int]:
    """The numbers of an enum of the running kernel; empty where its BTF has none."""
    return library().enum(name)


def pin(descriptor: int, path: Path) -> None:
    """Keep a map or link alive under a name."""
    library().number("bpf_obj_pin", descriptor, os.fsencode(path))


def open_pin(path: Path) -> int:
    """A descriptor for what is pinned there."""
    return library().number("bpf_obj_get", os.fsencode(path))


def program_id(descriptor: int) -> int:
    """The kernel's number of a program."""
    return int.from_bytes(object_info(descriptor)[4:8], "little")


def program_name(number: int) -> str:
    """The name of a program by its number; a few words when it is gone."""
    try:
        descriptor = library().number("bpf_prog_get_fd_by_id", number)
    except KernelRefusalError:
        return "a program that is gone"
    try:
        return object_info(descriptor)[64:80].rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(descriptor)


def create_link(program: int, ifindex: int, hook: int, flags: int) -> int:
    """The descriptor of a new link between a program and an interface's hook."""
    options = _LinkOptions(sz=ctypes.sizeof(_LinkOptions), flags=flags)
    return library().number("bpf_link_create", program, ifindex, hook, byref(options))


def update_link(link: int, program: int) -> None:
    """Let a link run another program from now on."""
    library().number("bpf_link_update", link, program, None)


def detach_link(link: int) -> None:
    """End a link now; without this the kernel ends it some time after its last descriptor and pin."""
    library().number("bpf_link_detach", link)


def open_raw_tracepoint(name: str, program: int) -> int:
    """The descriptor of a new link between a program and a tracepoint."""
    return library().number("bpf_raw_tracepoint_open", name.encode(), program)


def programs_at(ifindex: int, hook: int) -> list[int]:
    """The numbers of the programs at a hook, in the order in which they run."""
    numbers, count = (c_uint32 * 64)(), c_uint32(64)
    library().number("bpf_prog_query", ifindex, hook, 0, None, numbers, byref(count))
    return list(numbers[: count.value])


def kernel_version() -> tuple[int, int]:
    """Major and minor number of the running kernel."""
    major, minor = os.uname().release.split("-")[0].split(".")[:2]
    return int(major), int(minor)


def possible_cpus() -> int:
    """How many values a per-CPU entry has."""
    return library().number("libbpf_num_possible_cpus")


def run_program(program: int, packet: bytes, repeat: int = 1, context: bytes = b"") -> tuple[int, bytes, int]:
    """What a program returns for a packet, the packet afterwards, and nanoseconds of one run."""
    given, made = create_string_buffer(packet, len(packet)), create_string_buffer(len(packet) + 256)
    extra = create_string_buffer(context, len(context)) if context else None
    options = _RunOptions(
        sz=ctypes.sizeof(_RunOptions),
        data_in=ctypes.addressof(given),
        data_out=ctypes.addressof(made),
        data_size_in=len(packet),
        data_size_out=len(made),
        ctx_in=ctypes.addressof(extra) if extra else None,
        ctx_size_in=len(context),
        repeat=repeat,
    )
    library().number("bpf_prog_test_run_opts", program, byref(options))
    return ctypes.c_int32(options.retval).value, made.raw[: options.data_size_out], options.duration
