"""What this package raises."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """FerriteStatus of runtime.h: why the runtime refused."""

    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    INCOMPATIBLE = 3
    OUT_OF_MEMORY = 4
    CANCELLED = 5
    IO = 6
    INTERNAL = 7
    OUT_OF_PAGES = 8


class Error(RuntimeError):
    """An error of the runtime: one line, and the status behind it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, Status(status))

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def status(self) -> Status:
        status: Status = self.args[1]
        return status


class CompileError(RuntimeError):
    """A compilation that failed: what the compiler said, its exit code (1: the
    model or an option is wrong, 2: not supported, 3: a bug of ours), and its
    report where it wrote one (a fusion that was required failed)."""

    def __init__(
        self, message: str, exit_code: int, report: dict[str, object] | None = None
    ) -> None:
        super().__init__(message, exit_code, report)

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def exit_code(self) -> int:
        code: int = self.args[1]
        return code

    @property
    def report(self) -> dict[str, object] | None:
        report: dict[str, object] | None = self.args[2]
        return report
