"""The image of the agents: this package, what their code needs, and the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Deployment

USER: Final = 10001
"""Nobody's number on most machines; what runs as it has no name and no home."""
GITIGNORE: Final = "# Secrets and data belong to this machine.\n/secrets/\n/trust/\n/data/\n/.env\n"
"""What stays out of a repository of the files beside it."""


def dockerfile(deployment: Deployment, context: str, file: str) -> str:
    """Return the text of the Dockerfile. `context`, `file`: the project and this file, from where the user stands."""
    extras = ",".join(broker.engine for broker in deployment.brokers)
    package = f"topology-orchestrator{f'[{extras}]' if extras else ''}=={deployment.version}"
    lines = [
        "# The image of hubs and agents. From the folder where you exported it:",
        "#",
        f"#   docker build -t {deployment.image} -f {file} {context}",
        "FROM python:3.13-slim",
        "",
        "# First what changes seldom, so that a change of your code does not install it again.",
        f"RUN pip install --no-cache-dir '{package}'",
    ]
    if deployment.sources.requirements:
        lines += ["COPY requirements.txt /tmp/", "RUN pip install --no-cache-dir -r /tmp/requirements.txt"]
    else:
        lines += [
            "# What your handlers import belongs here:",
            "#   COPY requirements.txt /tmp/",
            "#   RUN pip install --no-cache-dir -r /tmp/requirements.txt",
        ]
    programs = sorted({program for workload in deployment.workloads for program in workload.programs})
    if programs:
        lines += [
            f"# The topology starts {', '.join(programs)}: install what is not in this image, for example",
            "#   RUN apt-get update && apt-get install -y --no-install-recommends nodejs && rm -rf /var/lib/apt/lists/*",
        ]
    lines += [
        "",
        "WORKDIR /app",
        "COPY . .",
        "# The file system is read-only where this runs: what Python would write at the first import is written now.",
        "RUN python -m compileall -q .",
        "",
        "# Never root. Compose runs it as you, so that it may read your secrets; Kubernetes as this user.",
        f"USER {USER}:{USER}",
        'CMD ["orchestrator", "--help"]',
    ]
    return "\n".join(lines) + "\n"


def dockerignore(out: str | None) -> str:
    """Return what stays out of the image. `out`: the folder of these files, from the project; `None` = it is elsewhere."""
    lines = [
        "# Secrets and what is made anew stay out of the image.",
        "**/.env",
        "**/secrets",
        "**/.git",
        "**/.orchestrator",
        "**/.venv",
        "**/__pycache__",
        "**/node_modules",
    ]
    if out:
        lines.append(out)
    return "\n".join(lines) + "\n"
