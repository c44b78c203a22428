"""Where the data that ships with the program lies: rules, report templates, the probe."""

from importlib import resources
from importlib.resources.abc import Traversable

_ROOT = resources.files("migrate")


def data(kind: str) -> Traversable:
    """Root of one data folder: "rules", "reports", "bpf" or "samples".

    An installed wheel has them under migrate/_data; a checkout has them next to migrate/.
    """
    installed = _ROOT / "_data" / kind
    return installed if installed.is_dir() else _ROOT.joinpath("..", kind)
