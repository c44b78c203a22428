"""What can go wrong that a user can act on, and the exit status of each (the whole table: docs/architecture.md)."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of the program. What is proved bad (1) goes before incomplete (4)."""

    FINE = 0
    FINDINGS = 1
    INPUT = 2
    CLUSTER = 3
    INCOMPLETE = 4
    BUG = 70
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class MigrateError(Exception):
    """A failure the user can act on. The message says what happened, where, and what to do."""

    exit_code = ExitStatus.INPUT


class InputError(MigrateError):
    """A file, an object or an option that cannot be used as it is."""


class ClusterError(MigrateError):
    """The cluster or a node did not answer, or refused."""

    exit_code = ExitStatus.CLUSTER
