"""The offline check of schemas against a real API server that holds the CRDs of one Cilium release."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migrate.translate.profiles import load_profile
from migrate.translate.schema import violations
from tests.apiserver.admin import Client
from tests.conftest import StartApiServer
from tests.target_examples import SCHEMA_EXAMPLES, Fields

pytestmark = pytest.mark.apiserver

_CRDS = Path(__file__).parents[2] / "rules" / "crds" / "cilium"
_PLURALS = {
    "CiliumNetworkPolicy": "namespaces/default/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies",
    "CiliumCIDRGroup": "ciliumcidrgroups",
}


@pytest.mark.parametrize("release", ["1.16", "1.18", "1.20"])
def test_a_strict_dry_run_and_the_offline_check_agree(release: str, start_api_server: StartApiServer) -> None:
    client = Client(start_api_server().admin)
    client.install(yaml.safe_load(file.read_bytes()) for file in sorted((_CRDS / release).glob("*.yaml")))
    differing = []
    for example in SCHEMA_EXAMPLES:
        offline = violations(example.data, load_profile(f"cilium-{release}"))
        status, answer = _dry_run(client, example.data)
        if (status == 201) is bool(offline):
            differing.append((example.sentence, offline, status, answer.get("message")))
    assert differing == []


def _dry_run(client: Client, data: Fields) -> tuple[int, dict[str, object]]:
    path = f"/apis/{data['apiVersion']}/{_PLURALS[str(data['kind'])]}"
    return client.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", data)
