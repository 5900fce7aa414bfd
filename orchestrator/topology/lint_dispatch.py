"""Tasks that a coordinator's code can hand out, and that none of its workers takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import did_you_mean, listed
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.lint_code import functions_of, seats
from orchestrator.topology.source_code import Modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.handlers import HandlerFault
    from orchestrator.topology.lint_code import Seat
    from orchestrator.topology.model import Topology
    from orchestrator.topology.source_code import ReadSource
    from orchestrator.topology.source_functions import At, FunctionCode


def unhandled_sends(
    topology: Topology, reports: Mapping[str, HandlerReport | HandlerFault], read_source: ReadSource
) -> list[Problem]:
    """Return a warning for each task class that a coordinator makes objects of and no worker of its handles.

    Of a coordinator whose source cannot be read, or one of whose workers is not known, nothing is said.
    """
    modules = Modules(read_source)
    problems: list[Problem] = []
    for seat in seats(topology, modules):
        coordinator = topology.coordinators.get(seat.name)
        handled = None if coordinator is None else _handled(topology, coordinator.workers, reports)
        if coordinator is None or handled is None:
            continue
        told: set[str] = set()
        for name, at in _made(seat):
            last = name.rpartition(".")[2]
            if last in told or last in handled or not modules.is_task(seat.code, name):
                continue
            told.add(last)
            sentence = (
                f"{last} can be handed out ({seat.code.source.name}, line {at.line}), and none of the workers handles "
                f"it: {listed(coordinator.workers)}{did_you_mean(last, sorted(handled))}"
            )
            problems.append(topology.origin.at_key(("coordinators", seat.name, "workers"), sentence))
    return problems


def _handled(
    topology: Topology, workers: tuple[str, ...], reports: Mapping[str, HandlerReport | HandlerFault]
) -> set[str] | None:
    """Return the tasks that workers handle together; `None` when that is not known of one of them."""
    agents = {name: agent for _, name, agent in topology.each_agent()}
    handled: set[str] = set()
    for worker in workers:
        agent = agents[worker]
        if agent.handler is None:
            handled |= set(agent.handles)
            continue
        report = reports.get(agent.handler)
        if not isinstance(report, HandlerReport):
            return None
        handled |= {task.name for task in report.tasks}
    return handled


def _made(seat: Seat) -> Iterator[tuple[str, At]]:
    """Yield what the code of an agent makes objects of: in its class, and in what of the module that comes to use."""
    for function in _reached(seat):
        yield from function.made


def _reached(seat: Seat) -> list[FunctionCode]:
    """Return the functions of an agent, and those of its module that they name, directly or through others."""
    code = seat.code
    reached = list(functions_of(seat).values())
    if seat.target is None:
        return reached
    names = set(seat.target.names).union(*(function.names for function in reached))
    seen: set[str] = set()
    while waiting := names - seen:
        seen |= waiting
        for name in sorted(waiting):
            more: list[FunctionCode] = []
            if name in code.functions:
                more = [code.functions[name]]
            elif name in code.classes and not code.classes[name].is_agent:
                more = list(code.classes[name].functions.values())
            reached += more
            names = names.union(*(function.names for function in more))
    return reached
