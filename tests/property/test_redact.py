"""Redacting changes no answer, and leaves no original name or address behind."""

from __future__ import annotations

import gzip
import ipaddress
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.compared import state
from migrate.model.addresses import Address, Network
from migrate.model.raw import Json, RawObject
from migrate.readiness.documents import read_folder
from migrate.redact.addresses import AddressMap
from migrate.redact.names import Names, vocabulary
from migrate.redact.objects import Redactor, label_values, ordered_names
from migrate.scan.encoded import EncodedObjects
from migrate.scan.kinds import CONFIG_MAP, KINDS
from migrate.sources.cluster import read_cluster
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from migrate.verify.verification import verify
from tests.command_line import migrate
from tests.unit.translate_cases import case_names, expectation, objects_of

KEY = bytes(range(32))
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "samples" / "demo"


def redactor_of(objects: list[RawObject]) -> Redactor:
    return Redactor(Names(KEY, ordered_names(objects)), AddressMap(KEY), label_values(objects))


def outcome_of(name: str, objects: list[RawObject]) -> Outcome:
    expected = expectation(name)
    profile = load_profile(expected.targets[-1])
    return translate(
        objects, profile=profile, engines=expected.engines, networkpolicy=expected.mode, complete=expected.complete
    )


def shape_of(outcome: Outcome) -> Counter[object]:
    """What a translation says without saying names. Who owns an object is left out with the annotations."""
    found: Counter[object] = Counter()
    for result in outcome.translation.results:
        ids = sorted(f.id for f in result.findings if not f.id.startswith("POL-OWNER"))
        objects = sorted(emitted.kind for emitted in result.objects)
        found[(result.source.kind, result.result.value, tuple(ids), tuple(objects))] += 1
    found[tuple(sorted(finding.id for finding in outcome.translation.findings))] += 1
    return found


SUBSTRINGS = frozenset(("calico-substrings", "calico-substrings-without-pods"))
"""Parts of values cannot be asked for among pseudonyms: these selectors become sets of today's values."""


@pytest.mark.parametrize("name", sorted(set(case_names()) - SUBSTRINGS))
def test_a_translation_of_pseudonyms_is_the_same(name: str) -> None:
    objects = [RawObject(data) for data in objects_of(name)]
    redactor = redactor_of(objects)
    redacted = [redactor.object(raw) for raw in objects]
    assert shape_of(outcome_of(name, redacted)) == shape_of(outcome_of(name, objects))


@pytest.mark.parametrize("name", [name for name in case_names() if expectation(name).cluster is not None])
def test_what_changes_for_pseudonyms_is_the_same(name: str) -> None:
    """As many pairs of pods lose or gain a connection. Into how many causes that is cut depends on names' order."""
    objects = [RawObject(data) for data in objects_of(name)]
    redactor = redactor_of(objects)
    assert counted(name, [redactor.object(raw) for raw in objects]) == counted(name, objects)


def counted(name: str, objects: list[RawObject]) -> tuple[object, ...]:
    expected = expectation(name)
    profile = load_profile(expected.targets[-1])
    cluster = read_cluster(objects, complete=expected.complete)
    emitted = [
        RawObject(data)
        for file in outcome_of(name, objects).to_apply
        for data in yaml.safe_load_all(file.text)
        if file.path.startswith("cilium/") and data.get("kind", "").startswith("Cilium")
    ]
    before = state("before", _engine(expected.engines), objects, cluster, profile)
    found = verify(before, state("after", "cilium", emitted, cluster, profile), cluster)
    causes = {(cause.change, cause.side) for cause in found.causes}
    return found.result, found.newly_denied_pairs, found.newly_allowed_pairs, causes, found.classes, found.packets


def _engine(engines: tuple[str, ...]) -> str:
    first = engines[0] if engines else "none"
    return {"npm-linux": "npm", "calico": "calico"}.get(first, "kubernetes")


SECRET = re.compile(rb"s[eE]kre[tT]|zqx", re.IGNORECASE)
PUBLIC_FIELDS = frozenset(("apiVersion", "kind"))


def planted(value: Json, numbers: Iterator[int], path: tuple[str, ...] = ()) -> Json:
    """The same with a secret in place of every string, and beside every field one of its own."""
    if isinstance(value, dict):
        made: dict[str, Json] = {key: planted(item, numbers, (*path, key)) for key, item in value.items()}
        return {**made, f"sekret{next(numbers)}": f"zqx{next(numbers)}"} if path else made
    if isinstance(value, list):
        return [planted(item, numbers, path) for item in value]
    if isinstance(value, str) and not (len(path) == 1 and path[0] in PUBLIC_FIELDS):
        return f"{value.partition('/')[0][:12]}sekret{next(numbers)}"
    return value


OTHER_KINDS = """
{kind: BGPConfiguration, apiVersion: crd.projectcalico.org/v1, metadata: {name: default},
 spec: {asNumber: 64512, serviceClusterIPs: [{cidr: 10.96.0.0/12}], communities: [{name: a, value: "1:2"}]}}
---
{kind: BGPPeer, apiVersion: crd.projectcalico.org/v1, metadata: {name: tor},
 spec: {peerIP: "192.0.2.1:1790", nodeSelector: "rack == 'a'", password: {secretKeyRef: {name: s, key: k}}}}
---
{kind: BGPFilter, apiVersion: crd.projectcalico.org/v1, metadata: {name: f},
 spec: {exportV4: [{action: Reject, cidr: 10.0.0.0/8, interface: eth0}]}}
---
{kind: IPAMConfig, apiVersion: crd.projectcalico.org/v1, metadata: {name: default}, spec: {strictAffinity: true}}
---
{kind: IPReservation, apiVersion: crd.projectcalico.org/v1, metadata: {name: r}, spec: {reservedCIDRs: [10.1.2.3/32]}}
---
{kind: KubeControllersConfiguration, apiVersion: crd.projectcalico.org/v1, metadata: {name: default},
 spec: {controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}}}
---
{kind: ClusterInformation, apiVersion: crd.projectcalico.org/v1, metadata: {name: default},
 spec: {calicoVersion: v3.28.1, clusterGUID: 0123456789abcdef, clusterType: "kubeadm,operator"}}
---
{kind: Profile, apiVersion: crd.projectcalico.org/v1, metadata: {name: kns.shop},
 spec: {labelsToApply: {pcns.team: blue}, egress: [{action: Allow}]}}
---
{kind: StagedGlobalNetworkPolicy, apiVersion: crd.projectcalico.org/v1, metadata: {name: default.s},
 spec: {stagedAction: Set, tier: default, selector: "a == 'b'", types: [Ingress]}}
---
{kind: StagedKubernetesNetworkPolicy, apiVersion: crd.projectcalico.org/v1, metadata: {name: s, namespace: n},
 spec: {stagedAction: Set, podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress]}}
---
{kind: AdminNetworkPolicy, apiVersion: policy.networking.k8s.io/v1alpha1, metadata: {name: a},
 spec: {priority: 1, subject: {namespaces: {}}, ingress: [{name: r, action: Allow, from: [{namespaces: {}}]}]}}
---
{kind: BaselineAdminNetworkPolicy, apiVersion: policy.networking.k8s.io/v1alpha1, metadata: {name: default},
 spec: {subject: {namespaces: {matchLabels: {a: b}}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}]}]}}
---
{kind: ClusterNetworkPolicy, apiVersion: policy.networking.k8s.io/v1alpha2, metadata: {name: a},
 spec: {tier: Admin, priority: 1, subject: {namespaces: {}},
  egress: [{action: Accept, to: [{domainNames: [a.example]}]}]}}
---
{kind: PodDisruptionBudget, apiVersion: policy/v1, metadata: {name: b, namespace: n},
 spec: {maxUnavailable: 25%, selector: {matchLabels: {a: b}}}}
---
{kind: NodePool, apiVersion: karpenter.sh/v1, metadata: {name: n},
 spec: {template: {metadata: {labels: {a: b}}, spec: {nodeClassRef: {name: c},
  requirements: [{key: kubernetes.io/arch, operator: In, values: [amd64]}], taints: [{key: a, value: b}]}},
  limits: {cpu: "10"}}}
---
{kind: CronJob, apiVersion: batch/v1, metadata: {name: c, namespace: n},
 spec: {schedule: "0 4 * * 0", jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}}
---
{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: i, namespace: n},
 spec: {ingressClassName: c, tls: [{hosts: [a.example], secretName: s}], rules: [{host: a.example, http: {paths:
  [{path: /a, pathType: Prefix, backend: {service: {name: s, port: {name: http}}}}]}}]}}
---
{kind: CiliumClusterwideNetworkPolicy, apiVersion: cilium.io/v2, metadata: {name: c},
 spec: {nodeSelector: {matchLabels: {a: b}}, description: d, ingress: [{fromEntities: [world]}]}}
---
{kind: CiliumNetworkPolicy, apiVersion: cilium.io/v2, metadata: {name: c, namespace: n},
 spec: {endpointSelector: {matchLabels: {"k8s:a": b}}, egress: [{toFQDNs: [{matchName: a.example}], toPorts:
  [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET, path: /a, headers: ["X: y"]}]}}]}]}}
---
{kind: CiliumCIDRGroup, apiVersion: cilium.io/v2, metadata: {name: g, labels: {a: b}},
 spec: {externalCIDRs: [192.0.2.0/24]}}
---
{kind: CiliumNode, apiVersion: cilium.io/v2, metadata: {name: n},
 spec: {addresses: [{ip: 192.0.2.1, type: InternalIP}], ipam: {podCIDRs: [10.1.0.0/24]}}}
"""


def every_object() -> list[RawObject]:
    """Objects of all kinds that a scan reads."""
    found = {str(data["kind"]): RawObject(data) for data in yaml.safe_load_all(OTHER_KINDS)}
    for name in case_names():
        for data in objects_of(name):
            found[json.dumps(data, sort_keys=True)] = RawObject(data)
    for path in [*sorted((DEMO / "cluster").glob("*.yaml")), *sorted((ROOT / "tests/cases/inventory").glob("*.yaml"))]:
        for data in yaml.safe_load_all(path.read_text()):
            if isinstance(data, dict):
                found[json.dumps(data, sort_keys=True, default=str)] = RawObject(data)
    return list(found.values())


def test_a_secret_in_any_field_is_gone() -> None:
    """Each string of each object, each of its keys, and names of fields that nobody knows."""
    numbers = iter(range(10_000_000))
    objects = every_object()
    assert len({raw.ref.kind for raw in objects}) > 20
    secret = [RawObject({key: planted(v, numbers, (key,)) for key, v in raw.data.items()}) for raw in objects]
    redactor = redactor_of(secret)
    for raw in secret:
        line = EncodedObjects.of([redactor.object(raw)]).lines[0]
        assert not SECRET.search(line), f"{raw.ref.kind}: {line!r}"


SECRET_WORDS = ("shop", "checkout", "storefront", "staging", "postgres", "cart", "payments", "analytics", "demo")


def renamed(text: str) -> str:
    """The demo's files with names that no text of ours has, everywhere where they stand."""
    for number, word in enumerate(SECRET_WORDS):
        text = re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z])", f"zqx{number}", text)
    return text


def everything_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file with its name, packed ones unpacked, and every cell of a recording."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), str(path.relative_to(folder)).encode()
        if path.is_dir():
            continue
        body = path.read_bytes()
        yield path.name, body
        if path.suffix == ".gz":
            yield path.name, gzip.decompress(body)
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as connection:
                yield path.name, "\n".join(connection.iterdump()).encode()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A working folder of the demo under secret names, with all documents, and what was made of it for others."""
    top = tmp_path_factory.mktemp("zqx")
    source, work, shown = top / "source", top / "work", top / "shown"
    source.mkdir()
    for path in sorted((DEMO / "cluster").glob("*.yaml")):
        (source / path.name).write_text(renamed(path.read_text()))
    (top / "az.json").write_text(renamed((DEMO / "az.json").read_text()))
    steps = (
        ("scan", "-f", source, "--az-json", top / "az.json", "--output-dir", work, "-q"),
        ("translate", "--snapshot", work / "snapshot.jsonl.gz", "--output-dir", work, "-q"),
        ("verify", "-d", work, "--matrix", "namespace", "-q"),
        ("report", "-d", work),
        ("redact", "-d", work, "--output-dir", shown, "-q"),
    )
    for step in steps:
        ended = migrate(top, *step)
        assert ended.status in (0, 1, 4), ended.stderr
    return work, shown


def test_the_names_were_there_before(both: tuple[Path, Path]) -> None:
    assert any(SECRET.search(body) for name, body in everything_in(both[0]) if name == "report.html")


def test_no_byte_of_a_redacted_folder_has_a_name(both: tuple[Path, Path]) -> None:
    for name, body in everything_in(both[1]):
        found = SECRET.search(body)
        assert found is None, f"{name}: {body[max(0, found.start() - 80) : found.end() + 80]!r}"


def test_no_name_or_address_of_the_snapshot_is_there(both: tuple[Path, Path]) -> None:
    """Whatever is neither public nor a number, as a whole word."""
    words = {text for raw in read_folder(both[0]).objects for text in _strings(raw.data.get("metadata"))}
    words |= {text for raw in read_folder(both[0]).objects for text in _addresses(raw.data)}
    public = vocabulary().words | {"true", "false", "", "linux"}
    looked_for = {word for word in words - public if len(word) > 3 and not re.fullmatch(r"[a-z]+", word)}
    assert len(looked_for) > 40
    for name, body in everything_in(both[1]):
        text = body.decode(errors="replace")
        there = [word for word in looked_for if re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w.-])", text)]
        assert there == [], name


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for key in ("name", "namespace"):
            found = value.get(key)
            if isinstance(found, str):
                yield found


def _addresses(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _addresses(item)
    elif isinstance(value, str):
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            yield value


def test_every_redacted_document_says_so(both: tuple[Path, Path]) -> None:
    documents = read_folder(both[1])
    assert documents.header is not None
    assert documents.header.redacted is True
    assert documents.header.name.startswith("redacted ")
    for name in ("translation.json", "verification.json"):
        assert json.loads((both[1] / name).read_text())["redacted"] is True
        assert json.loads((both[0] / name).read_text())["redacted"] is False
    assert "redacted" in (both[1] / "report.html").read_text()
    assert (both[1] / "REDACTED.md").is_file()


def test_verify_gives_the_same_over_a_redacted_folder(both: tuple[Path, Path]) -> None:
    shapes = []
    for folder in both:
        ended = migrate(folder, "verify", "-d", folder, "--matrix", "namespace", "-o", "json", "-q")
        found = json.loads(ended.stdout)
        kinds = Counter((cause["change"], cause["side"]) for cause in found["causes"])
        rows = Counter("".join(sorted(row)) for row in (*found["matrix"]["before"], *found["matrix"]["after"]))
        pairs = (found["newlyDeniedPairs"], found["newlyAllowedPairs"], found["classes"])
        shapes.append((ended.status, found["result"], pairs, set(kinds), rows))
    assert shapes[0] == shapes[1]


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
MAP = AddressMap(KEY)


def common(first: Address, second: Address) -> int:
    """How many leading bits two addresses share."""
    return first.max_prefixlen - (int(first) ^ int(second)).bit_length()


@given(st.one_of(st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4))))
def test_addresses_share_as_many_bits_as_before(pair: tuple[Address, Address]) -> None:
    first, second = pair
    if not (first.is_loopback or second.is_loopback):
        assert common(MAP.address(first), MAP.address(second)) == common(first, second)


@given(addresses)
def test_a_range_with_a_meaning_keeps_it(address: Address) -> None:
    mapped = MAP.address(address)
    assert mapped.version == address.version
    for trait in ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_unspecified"):
        if trait != "is_private" or address.version == 4:
            ranges = _meaning(address)
            assert _meaning(mapped) == ranges


def _meaning(address: Address) -> tuple[bool, ...]:
    names = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "224.0.0.0/4")
    ranges = (*map(ipaddress.ip_network, names), *map(ipaddress.ip_network, ("fc00::/7", "fe80::/10", "ff00::/8")))
    return tuple(address in network for network in ranges)


@given(addresses, st.integers(0, 128))
def test_a_network_holds_the_same_addresses(address: Address, length: int) -> None:
    network: Network = (
        ipaddress.ip_network((int(address), min(length, address.max_prefixlen)), strict=False)
        if (address.version == 4)
        else ipaddress.IPv6Network((int(address), length), strict=False)
    )
    assert MAP.address(address) in MAP.network(network) or address.is_loopback


@pytest.mark.parametrize("text", ["169.254.169.254", "168.63.129.16", "127.0.0.1", "::1", "0.0.0.0", "255.255.255.255"])
def test_an_address_that_everybody_knows_stays(text: str) -> None:
    assert str(MAP.address(ipaddress.ip_address(text))) == text


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/8", "169.254.169.254/32", "172.16.0.0/12", "fc00::/7"])
def test_a_network_that_everybody_knows_stays(text: str) -> None:
    assert str(MAP.network(ipaddress.ip_network(text))) == text


@given(st.text(min_size=1, max_size=300))
def test_a_pseudonym_can_be_a_label_a_port_and_an_object(text: str) -> None:
    made = Names(KEY).name(text)
    if made != text:
        assert re.fullmatch(r"[a-z][a-z-]{1,13}[a-z]", made)


def test_another_key_gives_other_pseudonyms() -> None:
    one, other = Names(KEY), Names(bytes(32))
    assert one.name("zqx") != other.name("zqx")
    assert Names(KEY).name("zqx") == one.name("zqx")


def test_all_kinds_of_a_scan_were_looked_at() -> None:
    """A kind that a scan reads and that no object here has could keep a name without a test."""
    seen = {raw.ref.kind for raw in every_object()}
    assert {kind.kind for kind in (*KINDS, CONFIG_MAP)} <= seen
