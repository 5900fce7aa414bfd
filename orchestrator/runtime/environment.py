"""What the processes of a run find in their environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ALLOWED: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)
"""What a child inherits that should inherit nothing: enough to find its interpreter, its modules, its language and whom it
trusts."""


def child_environment(
    inherited: Mapping[str, str], withheld: Collection[str], added: Mapping[str, str], *, inherit: bool = True
) -> dict[str, str]:
    """Return what a child finds in its environment: all that we found in ours, except our own settings and the
    variables in `withheld`, and what the topology adds. Without `inherit`, of ours only what is `ALLOWED`."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("ORCHESTRATOR_")
        and name not in withheld
        and (inherit or name in ALLOWED or name.startswith("LC_"))
    }
    return {**kept, **added}


INTERPRETERS: Final = ("PYTHON", "LD_", "DYLD_", "MALLOC_")
"""What variables are called that a program reads when it starts, and never again."""

SETTINGS: Final = frozenset(
    {
        *("DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH"),
        *("LD_AUDIT", "LD_BIND_NOW", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
        *(
            "PYTHONASYNCIODEBUG",
            "PYTHONCOERCECLOCALE",
            "PYTHONDEVMODE",
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONFAULTHANDLER",
        ),
        *("PYTHONHASHSEED", "PYTHONHOME", "PYTHONINTMAXSTRDIGITS", "PYTHONIOENCODING", "PYTHONMALLOC"),
        *("PYTHONNODEBUGRANGES", "PYTHONNOUSERSITE", "PYTHONOPTIMIZE", "PYTHONPERFSUPPORT", "PYTHONPLATLIBDIR"),
        *("PYTHONPROFILEIMPORTTIME", "PYTHONPYCACHEPREFIX", "PYTHONTRACEMALLOC", "PYTHONUNBUFFERED", "PYTHONUSERBASE"),
        *("PYTHONUTF8", "PYTHONVERBOSE", "PYTHONWARNINGS", "PYTHON_FROZEN_MODULES", "PYTHON_GIL", "PYTHON_JIT"),
    }
)
"""Those of them that are no secret, whoever has set them: an API key may be called LD_SDK_KEY as well."""


def needs_interpreter(environment: Mapping[str, str]) -> bool:
    """Tell whether any of these variables can only take effect in a fresh interpreter."""
    return any(name.startswith(INTERPRETERS) for name in environment)


def harmless_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what a process needs that only starts others: nothing of it is secret, and an interpreter finds its own."""
    settings = {name: value for name, value in inherited.items() if name in SETTINGS}
    return {**child_environment(inherited, (), {}, inherit=False), **settings}
