"""Whether the file and the code behind it say the same of who works with whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import did_you_mean, listed
from orchestrator.topology.delivery import durable_delivery
from orchestrator.topology.handlers import HandlerFault, HandlerReport, declared_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.handlers import Relation
    from orchestrator.topology.scopes import Relations
    from orchestrator.topology.yaml_nodes import Steps


class Fit:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []


def check_fit(relations: Relations, reports: Mapping[str, HandlerReport | HandlerFault]) -> Fit:
    fitting, fit = _Fitting(relations, reports), Fit()
    for section, name, _ in relations.topology.each_agent():
        fit.problems += fitting.misfits(section, name)
        fit.warnings += fitting.unused(name)
    fit.problems += [*fitting.idle_coordinators(), *fitting.halves_kept()]
    fit.warnings += [*fitting.idle_workers(), *fitting.mute_agents()]
    return fit


def unreached_workers(relations: Relations) -> Iterator[Problem]:
    """Yield the workers to which nobody hands anything, and which hear of nothing else either."""
    for name, worker in relations.topology.workers.items():
        others = (relations.bosses, relations.askers, relations.teams)
        if name in relations.idle or worker.scopes.given or any(name in owners for owners in others):
            continue
        sentence = (
            "no coordinator lists this worker and no user asks it, so it gets no task; list it under 'workers' of a "
            "coordinator or 'asks' of a user, or declare it under 'agents'"
        )
        yield relations.topology.origin.at_key(("workers", name), sentence)


def attribute_of(name: str) -> str:
    """Return the attribute under which code knows a name of the file."""
    return name.replace("-", "_")


class _Fitting:
    def __init__(self, relations: Relations, reports: Mapping[str, HandlerReport | HandlerFault]) -> None:
        self.relations, self.topology, self.origin = relations, relations.topology, relations.topology.origin
        self.sections = {name: section for section, name, _ in self.topology.each_agent()}
        self.reports = {
            name: HandlerReport("", declared_tasks(agent.handles))
            if agent.handler is None
            else reports.get(agent.handler)
            for name, agent in relations.agents.items()
        }

    def misfits(self, section: str, name: str) -> Iterator[Problem]:
        """Yield why a handler cannot be used, or which of its attributes find nothing to stand for."""
        at: Steps = (section, name, "handler")
        report = self.reports[name]
        if report is None:
            yield self.origin.at_value(at, "this handler was not looked at")
        elif isinstance(report, HandlerFault):
            frames = "".join(f"\n    {frame}" for frame in report.frames)
            yield self.origin.at_value(at, report.sentence + frames)
            yield from (self.origin.at_value(at, sentence) for sentence in report.others)
        else:
            for relation in report.relations:
                sentence = self.misfit(section, name, relation)
                if sentence is not None:
                    about = f"the attribute {relation.attribute!r} of {report.handler}"
                    yield self.origin.at_value(at, f"{about} {sentence}")

    def misfit(self, section: str, name: str, relation: Relation) -> str | None:
        if relation.kind == "workers":
            fits = section == "coordinators"
            return None if fits else "needs workers, and only an agent under 'coordinators' has any"
        is_team = relation.kind == "team"
        entries: Mapping[str, Any] = self.topology.teams if is_team else self.topology.presence
        mine = self.relations.teams if is_team else self.relations.lobbies
        word = "team" if is_team else "lobby"
        found = next((other for other in entries if attribute_of(other) == relation.attribute), None)
        if found is None:
            hint = did_you_mean(relation.attribute, map(attribute_of, entries))
            known = f"; those of {name!r} are {listed(map(attribute_of, mine.get(name, ())))}"
            return f"names no {word} of this file{hint or known}"
        if found not in mine.get(name, ()):
            place = "members" if is_team else "watchers"
            return f"is the {word} {found!r}, which does not list {name!r} among its {place}"
        if not is_team and name not in self.topology.presence[found].watchers:
            return (
                f"is the lobby {found!r}, of which {name!r} is a member; to see who is there, list it under 'watchers'"
            )
        return None

    def unused(self, name: str) -> Iterator[Problem]:
        """Yield the relations of the file that a class never uses; a module's functions reach theirs by name."""
        report = self.reports[name]
        if not isinstance(report, HandlerReport) or ":" not in report.handler:
            return
        used = {(relation.kind, relation.attribute) for relation in report.relations}
        if name in self.topology.coordinators and "workers" not in {kind for kind, _ in used}:
            sentence = f"{report.handler} has no attribute of the type Workers, so these workers get nothing from it"
            yield self.origin.at_key(("coordinators", name, "workers"), sentence)
        for team in self.relations.teams.get(name, ()):
            if ("team", attribute_of(team)) not in used and not report.events:
                index = self.topology.teams[team].members.index(name)
                sentence = f"{report.handler} has no attribute '{attribute_of(team)}: Team' and hears no event"
                yield self.origin.at_value(("teams", team, "members", index), sentence)
        for lobby in self.relations.lobbies.get(name, ()):
            watchers = self.topology.presence[lobby].watchers
            if name in watchers and ("presence", attribute_of(lobby)) not in used and not report.watches_presence:
                at: Steps = ("presence", lobby, "watchers", watchers.index(name))
                sentence = f"{report.handler} has no attribute '{attribute_of(lobby)}: Presence' and no @on_presence"
                yield self.origin.at_value(at, sentence)

    def idle_coordinators(self) -> Iterator[Problem]:
        for name, coordinator in self.topology.coordinators.items():
            if all(self.handles_nothing(worker) for worker in coordinator.workers):
                sentence = f"none of the workers of {name!r} handles any task: {listed(coordinator.workers)}"
                yield self.origin.at_key(("coordinators", name, "workers"), sentence)

    def halves_kept(self) -> Iterator[Problem]:
        """Yield the at-least-once workers of whose tasks others take the same, for the same coordinator, and keep none."""
        agents = self.relations.agents
        for name, coordinator in self.topology.coordinators.items():
            kept = [worker for worker in coordinator.workers if durable_delivery(agents[worker])]
            lossy = {
                task: worker for worker in coordinator.workers if worker not in kept for task in self.tasks(worker)
            }
            for worker in kept:
                shared = next((task for task in self.tasks(worker) if task in lossy), None)
                if shared is not None:
                    sentence = (
                        f"{name!r} hands {shared} to {worker!r} and to {lossy[shared]!r}, which is at-most-once; "
                        "either both are at-least-once or neither is"
                    )
                    yield self.origin.at_value((self.sections[worker], worker, "tasks", "delivery"), sentence)

    def idle_workers(self) -> Iterator[Problem]:
        for name, worker in self.topology.workers.items():
            if self.handles_nothing(name):
                sentence = f"{worker.handler} handles no task, so this worker never has anything to do"
                yield self.origin.at_value(("workers", name, "handler"), sentence)

    def mute_agents(self) -> Iterator[Problem]:
        for name, user in self.topology.users.items():
            for index, agent in enumerate(user.asks):
                if self.handles_nothing(agent):
                    sentence = f"{agent!r} handles no task, so it cannot answer {name!r}"
                    yield self.origin.at_value(("users", name, "asks", index), sentence)

    def tasks(self, name: str) -> tuple[str, ...]:
        """Return the types that an agent takes, as far as they are known."""
        report = self.reports[name]
        return tuple(task.name for task in report.tasks) if isinstance(report, HandlerReport) else ()

    def handles_nothing(self, name: str) -> bool:
        """Tell whether an agent is known to take no task; of a handler that cannot be used, nothing is known."""
        report = self.reports[name]
        return isinstance(report, HandlerReport) and not report.tasks
