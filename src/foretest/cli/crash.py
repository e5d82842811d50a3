"""What is said when something unforeseen breaks: one sentence, and where the details are."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

from foretest.errors import ExtraMissing

ENGINE_MODULES = frozenset(
    (
        "altair",
        "coverage",
        "deltalake",
        "jinja2",
        "numpy",
        "obstore",
        "polars",
        "sqlalchemy",
        "tqdm",
    )
)


def crash_message(error: BaseException) -> str:
    """A plain message for `error`; its traceback goes to a file, named in the message."""
    missing = getattr(error, "name", "") if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing.partition(".")[0] in ENGINE_MODULES:
        extra = ExtraMissing(
            f"This verb needs the engine, and '{missing}' is not installed.",
            "pip install 'foretest[engine]'",
        )
        return f"foretest: {extra.message}\n  -> {extra.remedy}"
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"foretest: {error.strerror}{place}.\n  -> Mend it and run the same command again."
    details = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="foretest-crash-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(details)
        where = f"The details are in {Path(file.name)}; please report them."
    except OSError:
        where = "The details could not be written to a file."
    return f"foretest: an unforeseen error ({type(error).__name__}: {error}).\n  -> {where}"
