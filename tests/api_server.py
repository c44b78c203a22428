"""A real kube-apiserver with its own etcd on loopback, for one test or a whole session."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 180
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server. `scanner` and `nobody` have no rights until a test binds a role to them.

    The user `scanner` is in the group migrate:readers.
    """

    url: str
    state: Path
    process: subprocess.Popen[bytes]

    @property
    def admin(self) -> Path:
        """Kubeconfig of a cluster administrator."""
        return self.state / "admin.kubeconfig"

    @property
    def scanner(self) -> Path:
        """Kubeconfig of the user `scanner`."""
        return self.state / "scanner.kubeconfig"

    @property
    def nobody(self) -> Path:
        """Kubeconfig of the user `nobody`."""
        return self.state / "nobody.kubeconfig"

    def stop(self) -> None:
        """End the server; what it stored stays in the state folder until the test session ends."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(program: Path, state: Path, flags: tuple[str, ...] = (), preload: Path | None = None) -> ApiServer:
    """Start the server and wait until it is ready. `state` must be short: unix socket paths end at 107 bytes.

    `flags` are the program's own; those behind "--" go to kube-apiserver (tests/engines/apiserver/README.md).
    `preload` is a file of stored objects that goes into an empty state folder.
    """
    command = [str(program), "--state-dir", str(state)]
    command += ["--preload", str(preload)] if preload else []
    log = state / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, *flags], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    return ApiServer(_wait_until_ready(process, state), state, process)


def _wait_until_ready(process: subprocess.Popen[bytes], state: Path) -> str:
    ready = state / "ready"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready.exists():
            return ready.read_text().strip()
        time.sleep(0.05)
    process.kill()
    process.wait()
    tail = (state / "server.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the API server did not get ready (exit status {process.returncode}):\n{tail}")
