"""Names replaced by pseudonyms: the same name has the same one everywhere, under one key.

Words of the public vocabulary (fields and enumerated values of the APIs, programs that are known by sight, well-known
namespaces) stay as they are, wherever they stand.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from importlib.resources.abc import Traversable

import msgspec
import yaml

from migrate.resources import data, read_yaml
from migrate.scan.inventory.programs import programs

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_SIDE = "default."
"""Calico orders policies by names that begin so, or with a namespace: a pseudonym stays on its side of it."""
_WORD = re.compile(r"[^\W\d_]+")
_CRDS = ("calico/crd.projectcalico.org", "cilium/1.20", "network-policy-api")


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rules/redact.yaml."""

    names: tuple[str, ...]
    label_prefixes: tuple[str, ...]
    label_keys: tuple[str, ...]
    key_prefixes: tuple[str, ...]
    fields: tuple[str, ...]
    values: tuple[str, ...]
    as_of: date


class Vocabulary(msgspec.Struct, frozen=True):
    """What is public: `words` stay wherever they are a whole value, `fields` where they name a field.

    `patterns` are names of programs of which only a part, each group, is somebody's own.
    """

    words: frozenset[str]
    fields: frozenset[str]
    given: Words
    patterns: tuple[re.Pattern[str], ...] = ()

    def keeps_label(self, key: str) -> bool:
        """Whether a label key is well known, or begins as those do that are."""
        return key in self.given.label_keys or ("/" in key and key.startswith(self.given.label_prefixes))


@cache
def vocabulary() -> Vocabulary:
    """The public words. Takes about a second: it reads the CRDs."""
    given = read_yaml(data("rules") / "redact.yaml", Words)
    fields, values = set(given.fields), {*given.values, *given.names}
    for file in _crd_files():
        for names, enumerated in _of_schema(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)):
            fields |= names
            values |= enumerated
    for program in programs():
        values |= {program.id, program.container, program.switch, *program.groups}
        values |= {word for w in program.workloads for word in (w.container, w.name) if "*" not in word}
    globs = {w.name for program in programs() for w in program.workloads if "*" in w.name and w.name.strip("*")}
    patterns = tuple(re.compile(re.escape(glob).replace(r"\*", "(.*)")) for glob in sorted(globs))
    return Vocabulary(frozenset(values - {""}), frozenset(fields), given, patterns)


def _crd_files() -> Iterator[Traversable]:
    for folder in _CRDS:
        root = data("rules") / "crds"
        for part in folder.split("/"):
            root = root / part
        yield from (file for file in root.iterdir() if file.name.endswith(".yaml"))


def _of_schema(schema: object) -> Iterator[tuple[set[str], set[str]]]:
    """Names of fields and enumerated values in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from _of_schema(item)
    if not isinstance(schema, dict):
        return
    named, enumerated = schema.get("properties"), schema.get("enum")
    yield (
        set(named) if isinstance(named, dict) else set(),
        {value for value in enumerated if isinstance(value, str)} if isinstance(enumerated, list) else set(),
    )
    for value in schema.values():
        yield from _of_schema(value)


class Names:
    """The pseudonyms under a key. `ordered` are names of policies: theirs keep the order, on which Calico rests."""

    def __init__(self, key: bytes, ordered: Iterable[str] = ()) -> None:
        self._key = key
        self._vocabulary = vocabulary()
        self._made: dict[str, str] = {}
        self._taken: set[str] = set()
        self._ranks: Mapping[str, int] = {name: rank for rank, name in enumerate(sorted(set(ordered)))}

    def name(self, text: str) -> str:
        """The pseudonym of a name: a label, at most 15 characters long, that is also the name of a port."""
        found = self._made.get(text)
        if found is not None:
            return found
        if text in self._vocabulary.words or not any(char.isalnum() for char in text):
            return text
        found = self._of_program(text)
        if found is not None:
            self._made[text] = found
            return found
        attempt = 0
        while found is None:
            candidate = self._candidate(text, attempt)
            attempt += 1
            if candidate not in self._taken:
                self._taken.add(candidate)
                found = self._made[text] = candidate
        return found

    def _of_program(self, text: str) -> str | None:
        """The name of a program that is known by a part of it: only the rest is replaced."""
        for pattern in self._vocabulary.patterns:
            match = pattern.fullmatch(text)
            if match is not None:
                made = text
                for group in reversed(range(1, pattern.groups + 1)):
                    start, end = match.span(group)
                    made = made[:start] + self._own_part(made[start:end]) + made[end:]
                return made
        return None

    def _own_part(self, text: str) -> str:
        """What stands before or after the known part, with the dashes around it."""
        bare = text.strip("-")
        return text.replace(bare, self._candidate(bare, 0)) if bare else text

    def ranked(self, text: str) -> str:
        """The pseudonym of a policy's or tier's name."""
        rank = self._ranks.get(text)
        return self.name(text) if rank is None else f"p{rank:06d}-{self._candidate(text, 0)}"

    def label_key(self, key: str) -> str:
        """The pseudonym of a label's key; prefixes that say whose label it is stay."""
        for prefix in self._vocabulary.given.key_prefixes:
            if key.startswith(prefix) and key != prefix:
                return prefix + self.label_key(key.removeprefix(prefix))
        if self._vocabulary.keeps_label(key):
            return self._within_prefix(key)
        return f"{_unseen_prefix(key)}{self.name(key)}"

    def field(self, key: str) -> str:
        """The name of a field: as it is when an API has it."""
        return key if key in self._vocabulary.fields else self.name(key)

    def host(self, text: str) -> str:
        """The pseudonym of a DNS name, part by part from its end, so that what ends alike still does."""
        parts = text.split(".")
        made = []
        for index, part in enumerate(parts):
            rest = ".".join(parts[index:])
            word = part.strip("*")
            made.append(part.replace(word, self.name(f"{word}.{rest}")) if word else part)
        return ".".join(made)

    def words(self, text: str) -> str:
        """A version or a title: numbers and public words stay, all other words become pseudonyms."""
        return _WORD.sub(lambda found: self.name(found[0]), text)

    def _within_prefix(self, key: str) -> str:
        """A well-known key as it is, when the public knows all of it; else with its own part replaced."""
        prefix, slash, own = key.partition("/")
        if not slash or own in _PUBLIC_LABELS:
            return key
        return f"{prefix}/{self.name(own)}"

    def _candidate(self, text: str, attempt: int) -> str:
        digest = int.from_bytes(hmac.digest(self._key, f"name/{attempt}/{text}".encode(), hashlib.sha256))
        letters = ["b" if text < _SIDE else "n"]
        for kind in "VCVCV-CVCVCVCV":
            choice = "-" if kind == "-" else _VOWELS if kind == "V" else _CONSONANTS
            letters.append(choice[digest % len(choice)])
            digest //= len(choice)
        return "".join(letters)


def _unseen_prefix(key: str) -> str:
    """What makes Cilium leave a label out of identities as it leaves out this one; empty for most."""
    if "beta.kubernetes.io" in key:
        return "beta.kubernetes.io/"
    return "k8s.io/" if key.startswith(_UNSEEN) else ""


_UNSEEN = ("io.kubernetes", "kubernetes.io", "k8s.io", "controller-uid", "pod-template-", "annotation")
_PUBLIC_LABELS = frozenset(
    (
        *("name", "instance", "version", "component", "part-of", "managed-by", "chart", "os", "arch", "hostname"),
        *("zone", "region", "instance-type", "control-plane", "metadata.name", "service-name", "pod-name"),
        *("pod-index", "job-name", "job-completion-index", "controller-uid", "cluster", "agentpool"),
        *("mode", "os-sku", "role", "podnetwork-type", "network-policy", "localdns-state", "node-image-version"),
        *(
            "ebpf-dataplane",
            "podnetwork-subnet",
            "nodepool-type",
            "orchestrator",
            "namespace",
            "serviceaccount",
            "master",
        ),
    )
)
"""What stands after the slash in label keys that everybody knows."""
