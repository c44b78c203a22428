"""CNI configurations of a node, several in one text → typed values.

Above each file stands its path, as `tail -n +1` (==> PATH <==) or `head` prints it, or as "# PATH". A text without
such a line is one file of unknown name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from migrate.errors import InputError
from migrate.model.addresses import Network, parse_network
from migrate.model.node_machine import CniFile, CniPlugin
from migrate.model.raw import Json, as_text
from migrate.model.refs import Location

_HEADING = re.compile(r"(?:==>\s*(?P<tail>\S.*?)\s*<==|#+\s*(?P<remark>/\S+)):?\s*")
_CONFIGURATION = re.compile(r".*\.(conf|conflist|json)")


def salvage_cni(text: str, source: str) -> tuple[tuple[CniFile, ...], tuple[InputError, ...]]:
    """The configurations by the names of their files, and what is wrong with the rest.

    A runtime takes the first file by name that ends in .conf, .conflist or .json; others are no configuration.
    Source: containerd/go-cni, opts.go, and containernetworking/cni, libcni/conf.go.
    """
    found: list[CniFile] = []
    complaints: list[InputError] = []
    for name, line, body in _parts(text):
        at = Location(source, line)
        if not _CONFIGURATION.fullmatch(name) and name != "":
            continue
        try:
            found.append(_file(name, at, msgspec.json.decode(body)))
        except (ValueError, RecursionError) as error:
            complaints.append(InputError(f"{at}: {name or 'this file'} is no CNI configuration: {error}"))
    return tuple(sorted(found, key=lambda file: file.name)), tuple(complaints)


def _parts(text: str) -> Iterator[tuple[str, int, str]]:
    """Name, first line and body of each file."""
    name, start = "", 1
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        heading = _HEADING.fullmatch(line)
        if heading is None:
            body.append(line)
            continue
        if name or "".join(body).strip():
            yield name, start, "\n".join(body)
        name, start, body = (heading["tail"] or heading["remark"]).rsplit("/", 1)[-1], number, []
    if name or "".join(body).strip():
        yield name, start, "\n".join(body)


def _file(name: str, at: Location, data: Json) -> CniFile:
    if not isinstance(data, dict):
        raise ValueError("it is no mapping")
    several = data.get("plugins")
    entries = several if isinstance(several, list) else [data]
    plugins = tuple(_plugin(entry) for entry in entries if isinstance(entry, dict))
    if not plugins or not all(plugin.type for plugin in plugins):
        raise ValueError("it names no type of plugin")
    return CniFile(name, at, as_text(data.get("name")), plugins)


def _plugin(entry: dict[str, Json]) -> CniPlugin:
    """One plugin. Flannel and others keep the bridge's settings under `delegate`."""
    delegate = entry.get("delegate")
    inner = delegate if isinstance(delegate, dict) else {}
    mtu = entry.get("mtu", inner.get("mtu"))
    return CniPlugin(
        type=as_text(entry.get("type")),
        bridge=as_text(entry.get("bridge", inner.get("bridge"))) or None,
        mtu=mtu if isinstance(mtu, int) and not isinstance(mtu, bool) else None,
        masquerades=(entry.get("ipMasq", inner.get("ipMasq")) is True),
        subnets=tuple(_subnets(entry.get("ipam"))),
    )


def _subnets(ipam: Json) -> Iterator[Network]:
    """host-local's ranges, in the old form and in the new one."""
    if not isinstance(ipam, dict):
        return
    ranges = ipam.get("ranges")
    outer = ranges if isinstance(ranges, list) else []
    entries: list[Json] = [ipam, *(entry for group in outer if isinstance(group, list) for entry in group)]
    for entry in entries:
        subnet = entry.get("subnet") if isinstance(entry, dict) else None
        try:
            if isinstance(subnet, str):
                yield parse_network(subnet)
        except ValueError:
            continue
