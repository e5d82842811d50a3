"""Errors raised on purpose: each has a stable name, an entry in the docs, and a remedy."""

from __future__ import annotations


class ForetestError(Exception):
    """Base of every error a user can meet. `remedy` is a command or a sentence to follow."""

    name = "error"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class NotARepository(ForetestError):
    name = "not-a-repository"


class GitFailed(ForetestError):
    name = "git-failed"


class EmptyRepository(ForetestError):
    name = "empty-repository"


class MissingBase(ForetestError):
    name = "missing-base"


class ShallowClone(ForetestError):
    name = "shallow-clone"


class BadConfiguration(ForetestError):
    name = "bad-configuration"


class BadReport(ForetestError):
    name = "bad-report"


class LowJoinRate(ForetestError):
    name = "low-join-rate"


class NoBundle(ForetestError):
    name = "no-bundle"


class NoTrainer(ForetestError):
    name = "no-trainer"


class BadBundle(ForetestError):
    name = "bad-bundle"


class NewerBundle(ForetestError):
    name = "newer-bundle"


class BadStore(ForetestError):
    name = "bad-store"


class Busy(ForetestError):
    """`retry_after`: seconds after which trying again makes sense."""

    name = "busy"

    def __init__(self, message: str, remedy: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, remedy)
        self.retry_after = retry_after


class SuiteFailed(ForetestError):
    name = "suite-failed"


class ExtraMissing(ForetestError):
    name = "extra-missing"


class StateNotFound(ForetestError):
    name = "state-not-found"


class TracerUnavailable(ForetestError):
    name = "tracer-unavailable"


class BadModel(ForetestError):
    name = "bad-model"


class DemoFailed(ForetestError):
    name = "demo-failed"


class ReadOnlyTarget(ForetestError):
    name = "read-only-target"


class NothingToReplay(ForetestError):
    name = "nothing-to-replay"


class PeerUnavailable(ForetestError):
    name = "peer-unavailable"


class ClusterFailed(ForetestError):
    name = "cluster-failed"


class TrackingFailed(ForetestError):
    name = "tracking-failed"
