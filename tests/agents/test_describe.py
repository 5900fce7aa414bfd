from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from pydantic import BaseModel

from orchestrator import (
    Context,
    Disconnected,
    Event,
    Joined,
    Left,
    Presence,
    StreamTask,
    Task,
    Team,
    Workers,
    agent,
    every,
    on_disconnect,
    on_event,
    on_presence,
    task,
)
from orchestrator.agents.describe import describe, read_agent
from orchestrator.errors import HandlerError
from orchestrator.topology.handlers import HandledTask, Relation


class Facts(BaseModel):
    notes: list[str]


class Research(Task[Facts]):
    topic: str


class Write(StreamTask[str]):
    prompt: str
    style: str = "plain"


class Opened(Event):
    item: str


class Closed(Event):
    item: str


@agent
class Editor:
    workers: Workers
    night_desk: Team
    lobby: Presence
    seen: int = 0

    @task(idempotent=True)
    def research(self, job: Research, ctx: Context) -> Facts:
        return Facts(notes=[job.topic, ctx.task_id])

    @task
    async def write(self, ask: Write) -> AsyncIterator[str]:
        yield ask.prompt

    @on_event
    async def changed(self, event: Opened | Closed) -> None: ...

    @on_presence
    async def came_or_went(self, change: Joined | Left) -> None: ...

    @on_disconnect
    async def cut(self, ended: Disconnected) -> None: ...

    @every("10s")
    async def look(self) -> None: ...


def test_a_report_says_what_an_agent_takes_and_whom_it_reaches() -> None:
    report = describe("app:Editor", Editor)
    assert report.tasks == (
        HandledTask("Research", "task", "research", "Facts", idempotent=True),
        HandledTask("Write", "stream", "write", "str", takes_prompt=True),
    )
    assert report.events == ("Opened", "Closed")
    assert report.relations == (
        Relation("workers", "workers"),
        Relation("night_desk", "team"),
        Relation("lobby", "presence"),
    )
    assert report.watches_presence


def test_plain_functions_run_in_threads_and_a_context_is_given_to_those_that_take_one() -> None:
    code = read_agent("app:Editor", Editor)
    assert (code.tasks["Research"].threaded, code.tasks["Research"].takes_context) == (True, True)
    assert (code.tasks["Write"].threaded, code.tasks["Write"].takes_context) == (False, False)
    assert [timer.record.seconds for timer in code.timers] == [10.0]
    assert code.task_for_prompt() == "Write"


def test_an_agent_is_an_ordinary_object_whose_methods_are_callable() -> None:
    class Nobody(Team):
        pass

    Nobody.__abstractmethods__ = frozenset()
    editor = Editor(workers=None, night_desk=Nobody(), lobby=None)  # type: ignore[abstract, arg-type]
    assert editor.seen == 0
    assert editor.research.__name__ == "research"


def test_handlers_of_a_base_class_are_inherited_and_can_be_replaced() -> None:
    @agent
    class Sub(Editor):
        @task
        def research(self, job: Research, ctx: Context) -> Facts:
            return Facts(notes=[])

    report = describe("app:Sub", Sub)
    assert [(found.name, found.idempotent) for found in report.tasks] == [("Research", False), ("Write", False)]


def test_decorated_functions_make_a_module_an_agent() -> None:
    module = types.ModuleType("summaries")

    @task
    async def research(job: Research) -> Facts:
        return Facts(notes=[])

    research.__module__ = "summaries"
    vars(module)["research"] = research
    assert [found.name for found in describe("summaries", module).tasks] == ["Research"]


def test_a_context_imported_for_type_checkers_alone_is_fine() -> None:
    @agent
    class Lazy:
        @task
        async def research(self, job: Research, ctx: Contxt) -> Facts:  # type: ignore[name-defined]  # noqa: F821
            return Facts(notes=[])

    assert describe("app:Lazy", Lazy).tasks[0].name == "Research"


# -- mistakes, each told in a sentence


def no_agent() -> type:
    class Plain:
        pass

    return Plain


def two_for_one() -> type:
    @agent
    class Twice:
        @task
        async def one(self, job: Research) -> Facts: ...  # type: ignore[empty-body]

        @task
        async def two(self, job: Research) -> Facts: ...  # type: ignore[empty-body]

    return Twice


def no_annotation() -> type:
    @agent
    class Bare:
        @task
        async def one(self, job):  # type: ignore[no-untyped-def]
            ...

    return Bare


def not_a_message() -> type:
    @agent
    class Wrong:
        @task
        async def one(self, job: str) -> str:
            return job

    return Wrong


def unresolvable() -> type:
    @agent
    class Unknown:
        @task
        async def one(self, job: Reserch) -> Facts: ...  # type: ignore[name-defined, empty-body]  # noqa: F821

    return Unknown


def wrong_reply() -> type:
    @agent
    class Reply:
        @task
        async def one(self, job: Research) -> str:
            return ""

    return Reply


def wrong_chunk() -> type:
    @agent
    class Chunk:
        @task
        async def one(self, job: Write) -> AsyncIterator[int]:
            yield 1

    return Chunk


def returns_a_stream() -> type:
    @agent
    class Returns:
        @task
        async def one(self, job: Write) -> str:
            return ""

    return Returns


def yields_a_reply() -> type:
    @agent
    class Yields:
        @task
        def one(self, job: Research) -> Iterator[Facts]:
            yield Facts(notes=[])

    return Yields


def too_many_parameters() -> type:
    @agent
    class Many:
        @task
        async def one(self, job: Research, ctx: Context, more: int) -> Facts: ...  # type: ignore[empty-body]

    return Many


def unknown_attribute() -> type:
    @agent
    class Attribute:
        model: str

    return Attribute


def yielding_event() -> type:
    @agent
    class YieldsEvent:
        @on_event
        async def one(self, event: Opened) -> AsyncIterator[int]:
            yield 1

    return YieldsEvent


def not_a_presence() -> type:
    @agent
    class Watches:
        @on_presence
        async def one(self, change: Opened) -> None: ...

    return Watches


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (no_agent, "class no_agent.<locals>.Plain is no agent: put @agent above it"),
        (two_for_one, "Twice.one and Twice.two both take Research; one agent has one handler for each type"),
        (
            no_annotation,
            "Bare.one: the first parameter, job, needs an annotation: a subclass of Task or StreamTask",
        ),
        (
            not_a_message,
            "Wrong.one: the first parameter, job, is annotated str; expected a subclass of Task or StreamTask",
        ),
        (
            unresolvable,
            (
                "Unknown.one: the annotation 'Reserch' of job cannot be resolved: name 'Reserch' is not defined; "
                "import its names outside `if TYPE_CHECKING:`"
            ),
        ),
        (wrong_reply, "Reply.one returns str, but Research promises Facts"),
        (wrong_chunk, "Chunk.one yields int, but Write promises str"),
        (returns_a_stream, "Returns.one takes Write, a stream task, so it has to yield chunks"),
        (yields_a_reply, "Yields.one takes Research, a task, so it has to return one reply, not to yield"),
        (
            too_many_parameters,
            "Many.one takes a message, and a Context if it likes; its parameters are (job, ctx, more)",
        ),
        (
            unknown_attribute,
            (
                "Attribute.model is annotated str and has no default: only Workers, Team and Presence are given by "
                "the topology"
            ),
        ),
        (yielding_event, "YieldsEvent.one yields, and only a @task can"),
        (
            not_a_presence,
            "Watches.one: the first parameter, change, is annotated Opened; expected Joined, Left, or Joined | Left",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence(make: Callable[[], type], sentence: str) -> None:
    with pytest.raises(HandlerError) as caught:
        describe("app:X", make())
    assert str(caught.value) == sentence


def test_every_mistake_of_one_agent_is_told_at_once() -> None:
    @agent
    class Muddle:
        model: str
        workers: Workers

        @task
        async def one(self, job: Research) -> str:
            return ""

        @task
        async def two(self, job: Write) -> str:
            return ""

    with pytest.raises(HandlerError) as caught:
        describe("app:Muddle", Muddle)
    assert [sentence.partition(" ")[0] for sentence in caught.value.sentences] == [
        "Muddle.one",
        "Muddle.two",
        "Muddle.model",
    ]


def test_a_timer_needs_a_duration() -> None:
    with pytest.raises(HandlerError, match="a duration such as"):
        every("soon")


def test_a_module_without_handlers_is_no_agent() -> None:
    with pytest.raises(HandlerError, match="holds no decorated function; for a class in it write 'empty:Class'"):
        describe("empty", types.ModuleType("empty"))
