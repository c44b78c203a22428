"""The script that writes the dump of a Windows node, as PowerShell's grammar reads it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

import msgspec
import pytest

from migrate.model.node_documents import NodeFile, NodeManifest
from migrate.nodes.files import MANIFEST, OF_WINDOWS
from migrate.nodes.windows.collector import collector_script
from migrate.resources import data
from tests.prerequisites import require

READ_ONLY = {
    *("Get-Command", "Get-Date", "Get-CimInstance", "Get-FileHash", "Get-HnsEndpoint", "Get-HnsNetwork"),
    *("Import-Module", "Test-Path", "Join-Path", "ConvertTo-Json", "New-Object", "ForEach-Object", "Where-Object"),
    *("Set-StrictMode", "Remove-TypeData", "Write-Warning"),
}
"""Commands that change nothing outside of the script's own process."""
FOLDER = {"New-Item", "Remove-Item"}
"""Make the folder of the dump, and take away what an earlier run left of a file there."""


class Tree:
    """A syntax tree of PowerShell."""

    def __init__(self, script: str) -> None:
        from tree_sitter import Language, Parser
        from tree_sitter_powershell import language

        self.root = Parser(Language(language())).parse(script.encode()).root_node

    def texts(self, kind: str) -> list[str]:
        """The texts of all nodes of a kind."""
        return [text for found, text in self._nodes() if found == kind]

    def broken(self) -> list[str]:
        """What does not fit the grammar."""
        return [text for kind, text in self._nodes() if kind in ("ERROR", "MISSING")]

    def _nodes(self) -> Iterator[tuple[str, str]]:
        left = [self.root]
        while left:
            node = left.pop()
            yield ("MISSING" if node.is_missing else node.type), (node.text or b"").decode()
            left += reversed(node.children)


@pytest.fixture(scope="module")
def tree() -> Tree:
    """The script's tree; without the grammar the test is skipped, or fails with CI=true."""
    there = all(importlib.util.find_spec(name) for name in ("tree_sitter", "tree_sitter_powershell"))
    require(there, "tree-sitter-powershell, of the development dependencies")
    return Tree(collector_script())


def test_the_script_fits_the_grammar(tree: Tree) -> None:
    assert tree.broken() == []
    assert not tree.root.has_error


def test_what_packs_the_dump_for_a_log_fits_it_too(tree: Tree) -> None:
    packer = Tree((data("rules") / "node" / "pod-windows.ps1").read_text(encoding="ascii"))
    assert packer.broken() == []
    assert not packer.root.has_error
    assert set(packer.texts("command_name")) == {
        "New-Object",
        "Join-Path",
        "ConvertTo-Json",
        "Out-Null",
        "Add-File",
        "Remove-Item",
    }


def test_it_only_reads(tree: Tree) -> None:
    own = set(tree.texts("function_name"))
    assert own == {
        "Import-First",
        "Read-Newer",
        "Read-Part",
        "Write-Part",
        "Format-Time",
        "Get-BootTime",
        "ConvertTo-Listing",
    }
    assert set(tree.texts("command_name")) - own == READ_ONLY - {"Get-HnsNetwork"} | FOLDER
    called_by_name = re.findall(r"-Reader '([\w-]+)'", collector_script())
    assert set(called_by_name) <= READ_ONLY
    methods = re.findall(r"\[System\.IO\.File\]::(\w+)\(([^,]+),", collector_script())
    assert methods == [("WriteAllText", "$path"), ("WriteAllText", "(Join-Path -Path $Folder -ChildPath 'node.json')")]


def test_it_writes_the_files_of_a_windows_dump_and_how_they_came() -> None:
    listed = re.findall(r"@\{ Name = '([^']+)'; Command = '([^']+)' \}", collector_script())
    assert listed == [(printed.name, printed.command) for printed in OF_WINDOWS]
    read = re.findall(r"^ {8}'([^']+)' \{ return (.+) \}$", collector_script(), flags=re.MULTILINE)
    assert [name for name, _ in read] == [printed.name for printed in OF_WINDOWS]
    for name, expression in read:
        if name.endswith(".json"):
            assert re.fullmatch(r"ConvertTo-Listing -List @\(.+\)", expression), name
    assert "ConvertTo-Json -InputObject $given -Depth 9" in collector_script()
    assert f"-ChildPath '{MANIFEST}'" in collector_script()


def test_its_description_of_the_dump_can_be_read(tree: Tree) -> None:
    script = collector_script()
    manifest = script[script.index("$manifest = ") : script.index("$text = ")]
    keys = re.findall(r"^    (\w+) +=", manifest, flags=re.MULTILINE)
    assert keys == [field.encode_name for field in msgspec.structs.fields(NodeManifest)]
    entry = next(text for text in tree.texts("hash_literal_expression") if "sha256" in text and "manifest" not in text)
    assert re.findall(r"(\w+) =", entry) == [field.encode_name for field in msgspec.structs.fields(NodeFile)]
    assert set(re.findall(r"\$entry\.status = '(\w+)'|status = '(\w+)'", script)) == {
        ("", "read"),
        ("absent", ""),
        ("failed", ""),
    }


@pytest.mark.parametrize("word", ["'cilium-migrate/v1alpha1'", "'NodeDump'", "'windows'", "yyyy-MM-dd'T'HH:mm:ss'Z'"])
def test_its_constants_are_those_of_the_document(word: str) -> None:
    assert collector_script().count(word) == 1


def test_it_is_plain_text() -> None:
    assert "\r" not in collector_script()
    assert collector_script().endswith("\n")
