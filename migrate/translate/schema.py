"""Whether a target's API server would take an object: the CRD schemas of its release, checked offline and strictly.

The structural schemas of CRDs become JSON Schema: fields that a schema does not name are errors, as with
fieldValidation=Strict. jsonschema-rs checks them, since it matches patterns in linear time like the API server does;
Python's `re` takes exponential time on the pattern of DNS names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeAlias

import msgspec
from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from migrate.model.raw import Json
from migrate.resources import data, read_yaml
from migrate.sources.fields import dotted
from migrate.translate.profiles import Profile

_Schema: TypeAlias = dict[str, object]

_CILIUM_KINDS = {
    "CiliumNetworkPolicy": "ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies",
    "CiliumCIDRGroup": "ciliumcidrgroups",
}
_CLUSTER_NETWORK_POLICIES = "network-policy-api/clusternetworkpolicies.standard.yaml"
_LONGEST_VALUE_SHOWN = 80
_MASK = "{}"
_UNKNOWN = ": unknown field"
_NAME_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_NAME_PART}(\.{_NAME_PART})*"
_LABEL_END = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


class _Version(msgspec.Struct):
    name: str
    schema: dict[str, _Schema]
    served: bool


class _Spec(msgspec.Struct):
    group: str
    scope: str
    versions: tuple[_Version, ...]


class _Definition(msgspec.Struct):
    """A CustomResourceDefinition, as far as it is needed."""

    spec: _Spec


def violations(data: Mapping[str, Json], profile: Profile) -> tuple[str, ...]:
    """What the target's API server would refuse, each as "field: what is wrong", in the order of the fields.

    Empty for a kind whose schema is not shipped: only CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy,
    CiliumCIDRGroup and ClusterNetworkPolicy are.
    """
    kind, version = data.get("kind"), data.get("apiVersion")
    if kind == "ClusterNetworkPolicy" and not profile.cluster_network_policy:
        return (f"kind: {profile.title} does not read ClusterNetworkPolicy",)
    file = _crd_file(kind, profile) if isinstance(kind, str) else None
    if file is None:
        return ()
    validator = _validators(file).get(str(version))
    if validator is None:
        known = " or ".join(sorted(_validators(file)))
        return (f"apiVersion: {version} is not served by {profile.title}; {kind} has {known} there",)
    found = _errors(validator, dict(data))
    if not found:
        return ()
    pruned = _without_nulls(data)
    unknown = [text for text in found if text.endswith(_UNKNOWN)]
    return tuple(dict.fromkeys([*unknown, *_errors(validator, pruned)]))


def _errors(validator: Draft202012Validator, data: object) -> list[str]:
    return [text for error in validator.iter_errors(data) for text in _texts(error)]


def _without_nulls(value: object) -> object:
    """The value as the API server sees it: a known field that is null counts as missing."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _crd_file(kind: str, profile: Profile) -> str | None:
    if kind == "ClusterNetworkPolicy":
        return _CLUSTER_NETWORK_POLICIES
    plural = _CILIUM_KINDS.get(kind)
    return None if plural is None else f"cilium/{profile.crds}/{plural}.yaml"


@cache
def _validators(file: str) -> Mapping[str, Draft202012Validator]:
    """The validators of a shipped CRD by apiVersion."""
    spec = read_yaml(data("rules").joinpath("crds", file), _Definition).spec
    return {
        f"{spec.group}/{version.name}": Draft202012Validator(
            _object_schema(version.schema["openAPIV3Schema"], spec.scope),
            formats={"cidr": is_cidr},
            validate_formats=True,
            keywords={"x-kubernetes-validations": _Rules},
            mask=_MASK,
        )
        for version in spec.versions
        if version.served
    }


def _object_schema(root: _Schema, scope: str) -> _Schema:
    schema = _strict(root)
    properties = schema["properties"]
    if isinstance(properties, dict):
        properties |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _metadata(scope)}
    schema["required"] = sorted({"apiVersion", "kind", "metadata", *_texts_of(schema.get("required"))})
    return schema


def _strict(schema: _Schema) -> _Schema:
    """A structural schema as JSON Schema that refuses fields it does not name."""
    found = {keyword: value for keyword, value in schema.items() if keyword in _KEPT}
    if schema.get("format") not in _FORMATS:
        found.pop("format", None)
    if isinstance(items := schema.get("items"), dict):
        found["items"] = _strict(items)
    if isinstance(properties := schema.get("properties"), dict):
        found["properties"] = {key: _strict(value) for key, value in properties.items() if isinstance(value, dict)}
    if isinstance(values := schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _strict(values)
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    elif schema.get("nullable"):
        found["type"] = [schema["type"], "null"]
    return found


_KEPT = frozenset(
    {
        *("type", "format", "enum", "pattern", "required", "oneOf", "anyOf", "allOf", "not"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "x-kubernetes-validations"),
    }
)
"""Keywords that mean the same in both; those of values below a schema are handled in _strict."""

_FORMATS = ("cidr", "date-time")
"""Formats in use that the API server checks; it knows neither idn-hostname nor the range of int32."""


def _metadata(scope: str) -> _Schema:
    """What the API server asks of the metadata of a custom resource."""
    texts: _Schema = {"type": "string"}
    text_list: _Schema = {"type": "array", "items": texts}
    keys: _Schema = {"maxLength": 317, "pattern": f"^({_SUBDOMAIN}/)?{_LABEL_END}$"}
    label_value: _Schema = {"type": "string", "pattern": f"^({_LABEL_END})?$"}
    properties: _Schema = {
        "name": {"type": "string", "maxLength": 253, "pattern": f"^{_SUBDOMAIN}$"},
        "labels": {"type": "object", "propertyNames": keys, "additionalProperties": label_value},
        "annotations": {"type": "object", "propertyNames": keys, "additionalProperties": texts},
        "finalizers": text_list,
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "managedFields": {"type": "array", "items": {"type": "object"}},
        **{field: {} for field in _SERVER_FIELDS},
    }
    if scope == "Namespaced":
        properties["namespace"] = {"type": "string", "maxLength": 63, "pattern": f"^{_NAME_PART}$"}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [{"required": ["name"]}, {"required": ["generateName"]}],
    }


_SERVER_FIELDS = (
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)


def is_cidr(value: object) -> bool:
    """Whether a value is a prefix as Go's net.ParseCIDR reads it: with a length, without a zone."""
    if not isinstance(value, str):
        return False
    address, slash, length = value.partition("/")
    if not (slash and length.isascii() and length.isdigit()) or "%" in address:
        return False
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _has_spec(value: object) -> bool:
    return isinstance(value, dict) and ("spec" in value or "specs" in value)


def _ascends(value: object) -> bool:
    if not isinstance(value, dict):
        return True
    start, end = value.get("start"), value.get("end")
    return not (isinstance(start, int) and isinstance(end, int)) or start < end


_CEL: Mapping[str, Callable[[object], bool]] = {
    "has(self.spec) || has(self.specs)": _has_spec,
    "self.start < self.end": _ascends,
    "isCIDR(self)": is_cidr,
}
"""The expressions of the shipped CRDs; a CRD with any other cannot be loaded (KeyError)."""


class _CelRule(msgspec.Struct):
    rule: str
    message: str = ""


class _Rules:
    """The keyword x-kubernetes-validations."""

    def __init__(self, parent_schema: _Schema, value: object, schema_path: list[str | int]) -> None:
        self._checks = [(_CEL[rule.rule], rule) for rule in msgspec.convert(value, type=list[_CelRule])]

    def validate(self, instance: object) -> None:
        """Raises ValueError, as the library wants it, with the rule's message."""
        for holds, rule in self._checks:
            if not holds(instance):
                raise ValueError(rule.message or rule.rule)


def _texts(error: ValidationError) -> list[str]:
    """An error as lines of "field: what is wrong"."""
    path = tuple(error.instance_path)
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.AdditionalProperties):
        return [f"{dotted((*path, name))}{_UNKNOWN}" for name in sorted(kind.unexpected)]
    if isinstance(kind, ValidationErrorKind.Required):
        return [f"{dotted((*path, kind.property))}: is missing"]
    return [f"{dotted(path) or 'object'}: {_reason(error)}"]


def _reason(error: ValidationError) -> str:
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.OneOfNotValid | ValidationErrorKind.AnyOf):
        return f"needs {_alternatives(kind.context)}"
    if isinstance(kind, ValidationErrorKind.OneOfMultipleValid):
        return "has fields of which only one may be there"
    if isinstance(kind, ValidationErrorKind.Pattern):
        return f"{_shown(error.instance)} does not have the form that the field asks for"
    if isinstance(kind, ValidationErrorKind.Enum):
        return f"{_shown(error.instance)} is not one of {', '.join(map(str, kind.options))}"
    if isinstance(kind, ValidationErrorKind.PropertyNames):
        return f"{_shown(kind.error.instance)} is not a legal key"
    if isinstance(kind, ValidationErrorKind.Custom):
        return kind.message
    return error.message.replace(_MASK, _shown(error.instance))


def _alternatives(branches: Sequence[Sequence[ValidationError]]) -> str:
    kinds = [error.kind for branch in branches for error in branch]
    names = [kind.property for kind in kinds if isinstance(kind, ValidationErrorKind.Required)]
    types = [name for kind in kinds if isinstance(kind, ValidationErrorKind.Type) for name in kind.types]
    return " or ".join(names or types)


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE_SHOWN else f"{text[:_LONGEST_VALUE_SHOWN]}…"


def _texts_of(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
