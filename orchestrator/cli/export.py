"""`orchestrator export compose|k8s|systemd FILE`: a topology as the files of an engine that is there already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, paths, read_plan, read_topology, topology_arguments
from orchestrator.errors import ExitCode, OrchestratorError, listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from orchestrator.deployment.shape import Deployment, Sources

ENGINES: Final = ("compose", "k8s", "systemd")
_USAGE: Final = (
    "orchestrator export {compose,k8s,systemd} FILE [--out DIR] [--image NAME] [--hubs N] [--no-broker] [--force]"
)


class CannotExportThere(OrchestratorError):
    """The files cannot be written where they were to be; nothing was."""

    exit_code = ExitCode.USAGE


class Exported(NamedTuple):
    files: dict[str, str]
    """What is written, by the name of the file; the first is the one that the engine reads."""
    stream: str
    """What goes to standard output where no files are wanted."""
    commands: Sequence[str]
    """What makes the secrets."""
    start: Sequence[str]
    """What starts it then."""
    where: str
    """Where all of these commands are typed."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = _USAGE
    parser.add_argument("engine", choices=ENGINES, metavar="{compose,k8s,systemd}", help="what is to run the topology")
    topology_arguments(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the files are written, or - for standard output (default: deploy/compose, deploy/k8s, deploy/systemd)",
    )
    parser.add_argument("--image", metavar="NAME", help="the image of hubs and agents (default: the topology's name)")
    parser.add_argument(
        "--hubs", type=_hubs, metavar="N", help="how many hubs (default: 2 where a backplane joins them, else 1)"
    )
    parser.add_argument(
        "--no-broker",
        dest="broker",
        action="store_false",
        help="write no broker: the one that the topology names runs already",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there and differ")
    examples(
        parser,
        "orchestrator export compose topology.yaml",
        "orchestrator export k8s topology.yaml --out - --image registry.example.org/desk:1",
        "orchestrator export systemd topology.yaml --out units",
    )
    parser.set_defaults(execute=execute)


def _hubs(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hubs, 1 to 100")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Raises `TopologyError`, `CannotExport`, or `CannotExportThere` before anything is written."""
    if args.engine == "systemd" and args.hubs is not None and args.hubs > 1:
        args.usage_error(
            "--hubs: a machine with systemd has one hub; on several machines, a backplane joins those of each"
        )
    out = Path(f"deploy/{args.engine}") if args.out is None else None if args.out == "-" else Path(args.out)
    deployment, overlay = _deployment(args)
    exported = _exported(args.engine, deployment, overlay, _root(args), out)
    if out is None:
        sys.stdout.write(exported.stream)
        return ExitCode.DONE
    written, same = write(out, exported.files, force=args.force)
    if written:
        print(f"wrote {', '.join(written)} into {out}{f'; {listed(same)} had it already' if same else ''}")
    else:
        print(f"{out} has all of it already")
    print(f"next, {exported.where}:")
    for line in (*exported.commands, *exported.start):
        print(f"  {line}")
    return ExitCode.DONE


def _deployment(args: argparse.Namespace) -> tuple[Deployment, str]:
    """Return what is to run, and the text of the topology's overlay."""
    from importlib.metadata import version

    from orchestrator.deployment.overlay import overlay
    from orchestrator.deployment.shape import deployment_of
    from orchestrator.deployment.variables import variables_of

    environ = environment(args)
    topology = read_topology(args, environ)
    plan = read_plan(topology, None)
    text = overlay(plan, topology)
    return deployment_of(
        plan,
        topology,
        _sources(args),
        variables_of(paths(args), text.encode(), environ),
        version=version("topology-orchestrator"),
        image=args.image,
        hubs=args.hubs,
        write_brokers=args.broker,
    ), text


def _root(args: argparse.Namespace) -> Path:
    """Return the folder that is copied into the image: the project around the topology, or the topology's own."""
    from orchestrator.agents.loading import search_roots

    return search_roots(paths(args)[0].resolve().parent)[-1]


def _sources(args: argparse.Namespace) -> Sources:
    from orchestrator.deployment.shape import Sources

    root = _root(args)
    return Sources(
        topology=tuple(_below(root, path) for path in paths(args)),
        profiles=tuple(args.profiles),
        app_dir=None if args.app_dir is None else _below(root, args.app_dir),
        requirements=(root / "requirements.txt").is_file(),
    )


def _below(root: Path, path: Path) -> str:
    resolved = path.resolve()
    if not resolved.is_relative_to(root):
        raise CannotExportThere(
            f"{path} does not lie in {root}, which is what is copied to where the topology runs; move it there, or put a "
            "pyproject.toml into the folder that holds both"
        )
    return resolved.relative_to(root).as_posix()


def _exported(engine: str, deployment: Deployment, overlay: str, root: Path, out: Path | None) -> Exported:
    if engine == "compose":
        from orchestrator.deployment import compose

        build = {"context": _way(out or Path.cwd(), root), "dockerfile": _way(root, (out or Path.cwd()) / "Dockerfile")}
        files = {**compose.compose_file(deployment, overlay, build), **_image(deployment, root, out)}
        start = [compose.start_command()]
        return Exported(files, files[compose.FILE], compose.commands(deployment), start, f"in {out}")
    if engine == "k8s":
        from orchestrator.deployment import kubernetes, kubernetes_secrets

        files = {kubernetes.FILE: kubernetes.manifests(deployment, overlay), **_image(deployment, root, out)}
        start = kubernetes.start_commands(deployment, _way(out or Path.cwd(), root))
        made = kubernetes_secrets.commands(deployment)
        return Exported(files, files[kubernetes.FILE], made, start, f"in {out}")
    from orchestrator.deployment import systemd

    project = _way(out or Path.cwd(), root)
    files = systemd.units(deployment, overlay, project)
    stream = "\n".join(f"# {name}\n{text}" for name, text in files.items())
    commands, start = systemd.commands(deployment, project), systemd.start_commands(deployment)
    return Exported(files, stream, commands, start, f"in {out}, as root")


def _image(deployment: Deployment, root: Path, out: Path | None) -> dict[str, str]:
    from orchestrator.deployment.image import GITIGNORE, dockerfile, dockerignore

    here = out or Path.cwd()
    inside = here.resolve().relative_to(root).as_posix() if here.resolve().is_relative_to(root) else None
    return {
        "Dockerfile": dockerfile(deployment, _way(here, root), "Dockerfile"),
        "Dockerfile.dockerignore": dockerignore(None if inside == "." else inside),
        ".gitignore": GITIGNORE,
    }


def _way(start: Path, end: Path) -> str:
    """Return the way from one folder to another, with slashes."""
    import os

    return Path(os.path.relpath(end.resolve(), start.resolve())).as_posix()


def write(out: Path, files: Mapping[str, str], *, force: bool) -> tuple[list[str], list[str]]:
    """Write files into a folder, and return the names of those written and of those that were there as they are.

    Raises `CannotExportThere` when one is there that differs, unless `force`, and then nothing is written.
    """
    try:
        there = {
            name: (out / name).read_bytes() for name in files if (out / name).exists() or (out / name).is_symlink()
        }
        differ = [name for name, raw in there.items() if raw != files[name].encode()]
        if differ and not force:
            verb = "is" if len(differ) == 1 else "are"
            raise CannotExportThere(
                f"{listed(differ)} in {str(out)!r} {verb} not what would be written, and nothing was: look with "
                "'--out -' or into another folder, or overwrite with --force"
            )
        out.mkdir(parents=True, exist_ok=True)
        written = [name for name in files if name not in there or name in differ]
        for name in written:
            (out / name).write_text(files[name], encoding="utf-8")
    except OSError as error:
        raise CannotExportThere(
            f"{error.filename or out} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from None
    return written, [name for name in files if name not in written]
