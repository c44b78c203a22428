"""Everything that is translated is taken by an API server that holds the CRDs of the target's Cilium release.

The requests are strict dry runs: an unknown field, a wrong type or a value that the schema refuses is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import pytest
import yaml

from migrate.model.raw import Json, RawObject
from migrate.scan.files import read_files
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile
from tests.apiserver.admin import Client, shipped_definitions
from tests.conftest import StartApiServer
from tests.differential.generate import DIALECTS, generate
from tests.differential.translation import cluster_objects
from tests.target_examples import RELEASES, policy
from tests.unit import translate_cases

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).parents[2]
RANDOM_CASES = 50
Source: TypeAlias = "tuple[str, list[RawObject], tuple[str, ...]]"
"""Where objects come from, the objects, and what enforces them today."""

WITH_AN_UNKNOWN_FIELD = policy("ingress", {"fromPods": []})
_PLURALS = {
    "CiliumNetworkPolicy": "ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies",
    "CiliumCIDRGroup": "ciliumcidrgroups",
}


@dataclass
class DryRun:
    """An API server with one release's CRDs, how many objects of each kind it took, and what it refused."""

    client: Client
    taken: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)

    def put(self, made: Mapping[str, object], origin: str) -> None:
        """Ask for one object to be created, in a namespace that exists."""
        metadata = cast("dict[str, str]", made["metadata"])
        namespace = metadata.get("namespace")
        folder = f"/apis/{made['apiVersion']}"
        if namespace is not None:
            self._need(namespace)
            folder += f"/namespaces/{namespace}"
        path = f"{folder}/{_PLURALS[str(made['kind'])]}?dryRun=All&fieldValidation=Strict"
        status, answer = self.client.call("POST", path, made)
        if status == 201:
            self.taken[str(made["kind"])] += 1
        else:
            self.refused.append(f"{origin}: {made['kind']} {metadata['name']}: {status} {answer.get('message')}")

    def _need(self, namespace: str) -> None:
        if namespace not in self.namespaces:
            status, answer = self.client.call(
                "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            )
            assert status in (201, 409), f"namespace {namespace}: {answer.get('message')}"
            self.namespaces.add(namespace)


def put_translation(run: DryRun, source: Source, target: str, mode: str = "rewrite") -> list[str]:
    """Send what becomes of the objects; returns what the program itself kept back as not fit for the target."""
    origin, objects, engines = source
    outcome = translate(
        objects, profile=load_profile(target), engines=engines, networkpolicy=mode, complete=bool(engines)
    )
    for file in outcome.files:
        run.put(yaml.safe_load(file.text), f"{origin}, {target}, {mode}")
    return [
        f"{origin}: {finding.subject}: {finding.detail}"
        for result in outcome.translation.results
        for finding in result.findings
        if finding.id == "POL-PROFILE-REFUSES" and result.source.group != "cilium.io"
    ]


def built_in_sample() -> Iterator[Source]:
    yield "built-in sample", _read(ROOT / "samples" / "demo" / "cluster"), ("npm-linux",)


def cases() -> Iterator[Source]:
    for name in translate_cases.case_names():
        yield name, [RawObject(item) for item in translate_cases.objects_of(name)], _engines(name)


def _engines(name: str) -> tuple[str, ...]:
    return translate_cases.expectation(name).engines


def random_policies() -> Iterator[Source]:
    for dialect in DIALECTS:
        for seed in range(RANDOM_CASES):
            case = generate(dialect, f"dry-run-{seed}")
            objects = [RawObject(cast("dict[str, Json]", i)) for i in [*cluster_objects(case), *case.policies]]
            yield case.name, objects, ("calico",) if dialect == "calico" else ()


def policies_as_users_have_them() -> Iterator[Source]:
    for path in sorted((ROOT / "tests" / "cases" / "corpus_sample").glob("*.yaml")):
        for engines in ((), ("calico",)):
            yield path.name, _read(path), engines


def _read(path: Path) -> list[RawObject]:
    return list(read_files([str(path)], None).objects)


@pytest.mark.parametrize("release", RELEASES)
def test_every_translated_object_is_taken(release: str, start_api_server: StartApiServer) -> None:
    run = DryRun(Client(start_api_server().admin))
    run.client.install(shipped_definitions(f"cilium/{release}"))
    target = f"cilium-{release}"
    written_by_hand = [*built_in_sample(), *cases(), *policies_as_users_have_them()]
    kept_back = [
        text for source in [*written_by_hand, *random_policies()] for text in put_translation(run, source, target)
    ]
    kept_back += [text for source in written_by_hand for text in put_translation(run, source, target, "supplement")]
    assert (run.refused, kept_back) == ([], [])
    assert set(run.taken) == set(_PLURALS)
    assert run.taken.total() > 10 * RANDOM_CASES
    run.put(WITH_AN_UNKNOWN_FIELD, "the check of the check")
    assert "fromPods" in "".join(run.refused)
