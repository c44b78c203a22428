"""Where the data that ships with the program lies: rules, report templates, the probe."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeVar

import msgspec
import yaml

T = TypeVar("T")

_ROOT = resources.files("migrate")


def data(kind: str) -> Traversable:
    """Root of one data folder: "rules", "reports", "bpf" or "samples".

    An installed wheel has them under migrate/_data; a checkout has them next to migrate/.
    """
    installed = _ROOT / "_data" / kind
    return installed if installed.is_dir() else _ROOT.joinpath("..", kind)


def read_yaml(file: Traversable, type_: type[T]) -> T:
    """A shipped YAML file as a typed value. Raises ValueError naming the file when it does not fit: a bug of ours."""
    try:
        return msgspec.convert(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader), type=type_)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise ValueError(f"{file.name}: {error}") from error


def yaml_files(folder: Traversable) -> list[Traversable]:
    """The YAML files right in a shipped folder, by name."""
    return sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
