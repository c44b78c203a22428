"""Hint files: what is taken, and what is refused with its file, line and field."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.model.labels import Labels
from migrate.scan.hints import read_hint_file
from migrate.sources.hints import DnsServer, HttpRequest

HEAD = "apiVersion: cilium-migrate/v1alpha1\nkind: Hints\n"
WHOLE = f"""{HEAD}fqdn:
  - cidr: 203.0.113.0/24
    names: [Shop.Example.com., "**.blob.example.net", "app*.example.org"]
    namespaces: [shop]
http:
  - namespace: shop
    podLabels: {{app: web}}
    port: 8080
    allow:
      - {{methods: [GET, HEAD], paths: ["/api/(v1|v2)/.*"]}}
      - {{methods: [POST]}}
dns:
  namespace: dns
  podLabels: {{app: resolver}}
  port: 5353
  searchDomains: [shop.svc.cluster.local]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "hints.yaml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    hints = read_hint_file(written(tmp_path, WHOLE))
    (names,) = hints.names
    assert names.network == ipaddress.ip_network("203.0.113.0/24")
    assert names.names == ("**.blob.example.net", "app*.example.org", "shop.example.com")
    assert names.namespaces == ("shop",)
    (http,) = hints.http
    assert (http.namespace, http.pod_labels, http.port) == ("shop", Labels((("app", "web"),)), "8080")
    path = "/api/(v1|v2)/.*"
    assert http.requests == (HttpRequest("GET", path), HttpRequest("HEAD", path), HttpRequest("POST", None))
    expected = DnsServer("dns", Labels((("app", "resolver"),)), 5353, ("shop.svc.cluster.local",), given=True)
    assert hints.dns == expected


def test_kube_dns_is_the_server_when_no_other_is_named(tmp_path: Path) -> None:
    hints = read_hint_file(written(tmp_path, f"{HEAD}fqdn:\n- {{cidr: 192.0.2.1, names: [a.example.com]}}\n"))
    server = hints.dns
    assert (server.namespace, dict(server.pod_labels), server.port) == ("kube-system", {"k8s-app": "kube-dns"}, 53)
    assert not server.given


def names(*texts: str) -> str:
    return f"{HEAD}fqdn:\n  - cidr: 192.0.2.0/24\n    names: [{', '.join(texts)}]\n"


def http(rest: str) -> str:
    return f"{HEAD}http:\n  - namespace: shop\n    podLabels: {{app: web}}\n{rest}"


REFUSED = [
    pytest.param(names('"*"'), r":5: fqdn\[0\]\.names\[0\]: .*many owners", id="a star alone is every name"),
    pytest.param(names('"**"'), r":5: fqdn\[0\]\.names\[0\]: .*in front", id="two stars alone are every name"),
    pytest.param(names('"*.com"'), r":5: .*many owners", id="a star below a top level domain"),
    pytest.param(names("a.example.com", '"a.**.example.com"'), r"names\[1\]: .*in front", id="two stars within"),
    pytest.param(names("a_b.example..com"), r":5: .*not a DNS name", id="an empty label"),
    pytest.param(names("http://a.example.com"), r":5: .*not a DNS name", id="an address of a page"),
    pytest.param(names("192.0.2.7"), r":5: .*is an address", id="an address"),
    pytest.param(names("api.shop.svc.cluster.local"), r":5: .*by label", id="a name of the cluster"),
    pytest.param(f"{HEAD}fqdn:\n  - cidr: 192.0.2.0/24\n", r":4: fqdn\[0\]\.names: must list", id="no name"),
    pytest.param(
        f"{HEAD}fqdn:\n  - cidr: example.com\n    names: [a.example.com]\n", r":4: fqdn\[0\]\.cidr", id="no CIDR"
    ),
    pytest.param(
        f"{HEAD}fqdn:\n  - cidr: 192.0.2.0/24\n    name: a.example.com\n", r":5: .*unknown field", id="an unknown field"
    ),
    pytest.param(
        f"{HEAD}fqdn:\n- {{cidr: 192.0.2.0/24, names: [a.b.c]}}\n- {{cidr: 192.0.2.9/24, names: [d.b.c]}}\n",
        r":5: fqdn\[1\]: .*fqdn\[0\]; join",
        id="two hints on one CIDR",
    ),
    pytest.param(
        f"{HEAD}fqdn:\n- cidr: 192.0.2.0/24\n  names: [a.example.com]\n  namespaces: []\n",
        r":6: .*all namespaces",
        id="an empty list of namespaces",
    ),
    pytest.param(http("    port: 8080\n"), r"http\[0\]\.allow", id="no requests"),
    pytest.param(http("    port: 0\n    allow: [{methods: [GET]}]\n"), r":6: http\[0\]\.port", id="port 0"),
    pytest.param(http('    port: "80"\n    allow: [{methods: [GET]}]\n'), r":6: .*port", id="a number as a text"),
    pytest.param(http("    port: 80\n    allow: [{}]\n"), r":7: .*methods or paths", id="a request that is any"),
    pytest.param(http("    port: 80\n    allow: [{methods: [get]}]\n"), r":7: .*method such as", id="a small method"),
    pytest.param(http("    port: 80\n    allow: [{paths: [api]}]\n"), r":7: .*begin with /", id="a path without root"),
    pytest.param(http('    port: 80\n    allow: [{paths: ["/("]}]\n'), r":7: .*regular expr", id="a broken expression"),
    pytest.param(http('    port: 80\n    allow: [{paths: ["/(?!x)"]}]\n'), r":7: .*look-around", id="look-ahead"),
    pytest.param(
        f"{HEAD}http:\n  - port: 80\n    allow: [{{methods: [GET]}}]\n", r"(?s)namespace.*podLabels", id="no pods"
    ),
    pytest.param(HEAD, r"hints\.yaml:1: fqdn: must list at least one hint", id="no hint at all"),
    pytest.param("kind: Hints\nfqdn: []\n", r"apiVersion: must be cilium-migrate/v1alpha1", id="no apiVersion"),
    pytest.param(f"{HEAD}dns: {{port: 70000}}\n", r":3: dns\.port", id="a port beyond the last"),
    pytest.param(f"{HEAD}dns: {{searchDomains: [a b]}}\n", r":3: dns\.searchDomains\[0\]", id="no search domain"),
    pytest.param(f"{HEAD}fqdn: [\n", r"hints\.yaml:", id="no YAML"),
    pytest.param("- a\n", r"one document of kind Hints", id="a list"),
    pytest.param(f"{HEAD}---\n{HEAD}", r"one document of kind Hints", id="two documents"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_hint_file(written(tmp_path, text))


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_hint_file(written(tmp_path, names('"*"', "192.0.2.7", "fine.example.com")))
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml: cannot be read"):
        read_hint_file(tmp_path / "missing.yaml")
