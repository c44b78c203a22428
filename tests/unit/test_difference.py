"""What changed between two translations, as lines."""

import msgspec
import pytest

from migrate.model.documents import Result, Translation, TranslationResult
from migrate.model.finding import Finding
from migrate.model.refs import ObjectRef
from migrate.translate.difference import differences

_WEB = ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "web")
_API = ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "api")
_PORT = Finding(id="POL-NAMED-PORT", detail="port http is 80 and 8080")
_FILE = "cilium/shop/web.yaml"


def _result(source: ObjectRef, result: Result, *findings: Finding) -> TranslationResult:
    return TranslationResult(source=source, at=None, result=result, findings=findings)


def _translation(
    *results: TranslationResult, target: str = "cilium-1.20", findings: tuple[Finding, ...] = ()
) -> Translation:
    return Translation(
        tool_version="1", target=target, networkpolicy="rewrite", engines=(), results=results, findings=findings
    )


_BEFORE = _translation(_result(_WEB, Result.EXACT))


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        pytest.param(_BEFORE, (), id="the same translation differs in nothing"),
        pytest.param(
            msgspec.structs.replace(_BEFORE, tool_version="2"), (), id="the version of the program does not count"
        ),
        pytest.param(
            msgspec.structs.replace(_BEFORE, target="aks-1.34", engines=("calico",)),
            ("~ target: cilium-1.20 -> aks-1.34", "~ engines: nothing -> calico"),
            id="settings",
        ),
        pytest.param(
            msgspec.structs.replace(_BEFORE, complete=False), ("~ complete: true -> false",), id="no longer complete"
        ),
        pytest.param(
            _translation(_result(_API, Result.KEPT)),
            ("+ NetworkPolicy shop/api: kept", "- NetworkPolicy shop/web: was exact"),
            id="one policy came and one went",
        ),
        pytest.param(
            _translation(_result(_WEB, Result.CHANGED, _PORT)),
            (
                "~ NetworkPolicy shop/web: exact -> changed",
                "+ NetworkPolicy shop/web: POL-NAMED-PORT: port http is 80 and 8080",
            ),
            id="another result and a new finding",
        ),
        pytest.param(
            _translation(_result(_WEB, Result.EXACT), findings=(_PORT,)),
            ("+ POL-NAMED-PORT: port http is 80 and 8080",),
            id="a finding about the cluster",
        ),
    ],
)
def test_documents(after: Translation, lines: tuple[str, ...]) -> None:
    assert differences(_BEFORE, after, {}, {}) == lines


def test_a_finding_that_went_has_a_minus() -> None:
    before = _translation(_result(_WEB, Result.EXACT, _PORT))
    assert differences(before, _BEFORE, {}, {}) == (
        "- NetworkPolicy shop/web: POL-NAMED-PORT: port http is 80 and 8080",
    )


_OBJECT = """# From somewhere
spec:
  ingress:
    - toPorts:
        - ports:
            - {port: "80", protocol: TCP}
"""


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        pytest.param(_OBJECT, _OBJECT, (), id="the same text"),
        pytest.param(None, _OBJECT, (f"+ {_FILE}",), id="a new file"),
        pytest.param(_OBJECT, None, (f"- {_FILE}",), id="a file that went"),
        pytest.param(
            _OBJECT,
            _OBJECT.replace('"80"', '"443"'),
            (f"~ {_FILE}: spec.ingress[0].toPorts[0].ports[0].port: '80' -> '443'",),
            id="another value",
        ),
        pytest.param(
            _OBJECT,
            _OBJECT.replace('"80"', "80"),
            (f"~ {_FILE}: spec.ingress[0].toPorts[0].ports[0].port: '80' -> 80",),
            id="a number is not its text",
        ),
        pytest.param(
            _OBJECT,
            _OBJECT.replace("protocol: TCP", "protocol: TCP, endPort: 90"),
            (f"~ {_FILE}: spec.ingress[0].toPorts[0].ports[0].endPort: nothing -> 90",),
            id="a new field",
        ),
        pytest.param(
            _OBJECT + "    - fromEntities: [host]\n",
            _OBJECT,
            (f"~ {_FILE}: spec.ingress[1]: {{fromEntities: [host]}} -> nothing",),
            id="a rule that went",
        ),
        pytest.param(
            _OBJECT, _OBJECT.replace("somewhere", "elsewhere"), (f"~ {_FILE}: only its comments",), id="a comment"
        ),
        pytest.param(
            "a: [",
            _OBJECT,
            (f"~ {_FILE}: cannot be compared, since the earlier file is no YAML any more",),
            id="no YAML",
        ),
    ],
)
def test_files(before: str | None, after: str | None, lines: tuple[str, ...]) -> None:
    files = [{} if text is None else {_FILE: text} for text in (before, after)]
    assert differences(_BEFORE, _BEFORE, *files) == lines
