"""Builds the Go programs of tests/engines once and keeps them in the user's cache folder.

`python -m tests.engine_binaries` builds all of them and says how long each took; with `--has-go` it only tells by its
exit status whether a Go toolchain is there that can.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.prerequisites import running_in_ci

ENGINES = ("apiserver", "calico", "cilium-1.18", "cilium-1.20")
_MODULES = Path(__file__).parent / "engines"
_OLDEST_GO = (1, 26)
# The same flags for programs and their tests, so that both use what the other compiled.
BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")


class EngineUnavailableError(Exception):
    """An engine cannot be had on this machine; the message says what is missing."""


def engine_binary(name: str) -> Path:
    """The program of one engine: named by the environment, from the cache, or built now.

    Raises EngineUnavailableError without a Go toolchain, RuntimeError when the build fails.
    """
    variable = "MIGRATE_ENGINE_" + re.sub(r"\W", "_", name).upper()
    if chosen := os.environ.get(variable):
        return Path(chosen)
    binary = _cache_folder() / f"{name}-{_fingerprint(name)}"
    if not binary.exists():
        with _locked(_cache_folder() / f"{name}.lock"):
            if not binary.exists():
                _build(name, binary)
    return binary


def module_folder(name: str) -> Path:
    """The Go module of an engine."""
    return _MODULES / name


def go_command() -> str:
    """The go program: the one of the virtual environment, or else of the PATH. Raises EngineUnavailableError."""
    ours = Path(sys.executable).parent / "go"
    found = str(ours) if ours.exists() else shutil.which("go")
    if found is None:
        raise EngineUnavailableError("the policy engines need Go 1.26 or newer: install it, or run `make test`")
    version = subprocess.run([found, "version"], check=True, capture_output=True, text=True).stdout
    release = re.search(r"go(\d+)\.(\d+)", version)
    if release is None or (int(release[1]), int(release[2])) < _OLDEST_GO:
        raise EngineUnavailableError(f"the policy engines need Go 1.26 or newer, and {found} is {version.strip()}")
    return found


def go_environment() -> dict[str, str]:
    """The environment of every go command: no C compiler, and no setting of the user's that changes the build."""
    return os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cilium-migrate" / "engines"


def _fingerprint(name: str) -> str:
    """Changes whenever the program would."""
    digest = hashlib.sha256(" ".join(_link_flags(name)).encode())
    folder = module_folder(name)
    sources = (path for path in folder.glob("*.go") if not path.name.endswith("_test.go"))
    for path in sorted([folder / "go.mod", folder / "go.sum", *sources]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _link_flags(name: str) -> tuple[str, ...]:
    """Build flags with the linker's; the API server reports the version that is linked into it."""
    values = ""
    if name == "apiserver":
        release = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\S+)", (module_folder(name) / "go.mod").read_text())
        if release is None:
            raise RuntimeError("tests/engines/apiserver/go.mod names no release of k8s.io/kubernetes")
        package = "k8s.io/component-base/version"
        values = f" -X {package}.gitVersion={release[1]} -X {package}.gitMajor=1 -X {package}.gitMinor={release[2]}"
    return (*BUILD_FLAGS, f"-ldflags=-s -w{values}")


def _build(name: str, binary: Path) -> None:
    unfinished = binary.with_name(f".{binary.name}.{os.getpid()}")
    command = [go_command(), "build", *_link_flags(name), "-o", str(unfinished), "."]
    built = subprocess.run(command, cwd=module_folder(name), env=go_environment(), capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(f"building tests/engines/{name} failed:\n{built.stderr}")
    unfinished.rename(binary)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time builds an engine; the others wait and then find it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Build every engine; 1 when that fails, or when Go is missing and CI=true."""
    if "--has-go" in arguments:
        return 0 if _has_go() else 1
    for name in ENGINES:
        started = time.monotonic()
        try:
            engine_binary(name)
        except EngineUnavailableError as error:
            print(f"engines: not built, their tests will be skipped: {error}")
            return int(running_in_ci())
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"engine {name}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _has_go() -> bool:
    try:
        go_command()
    except EngineUnavailableError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
