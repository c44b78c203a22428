"""The script that writes the dump of a Windows node, on the node itself or in a pod with the host's processes."""

from migrate.resources import data

SCRIPT_NAME = "collect-windows.ps1"


def collector_script() -> str:
    """The PowerShell script; its parameters are -Folder, -Name (of the node), -Way (node or pod) and -ToolVersion."""
    return (data("rules") / "node" / SCRIPT_NAME).read_text(encoding="ascii")
