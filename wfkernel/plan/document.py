"""The format of workflow files (``*.wf.yaml``, the same in JSON), as pydantic models.

These models are the format: `json_schema` is generated from them, the loader validates with them, and what the docs say of
a key is its description here. A workflow is a list of *entries*; what an entry does is said by the one key that
distinguishes it (``uses``, ``run``, ``agent``, ``notebook``, ``workflow``, ``steps``, ``graph``, ``parallel``,
``branch``, ``loop``, ``foreach``, ``map``, ``sleep``, ``sleep_until``). `wfkernel.engine.compile` turns documents into
the plans the builder makes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

__all__ = [
    "FORMAT",
    "KINDS",
    "AgentStep",
    "BranchBlock",
    "Document",
    "ForeachBlock",
    "GraphBlock",
    "Group",
    "InputField",
    "LoopBlock",
    "MapBlock",
    "NotebookStep",
    "ParallelBlock",
    "RunStep",
    "SleepBlock",
    "SleepUntilBlock",
    "SourcesBlock",
    "UsesStep",
    "Work",
    "WorkflowStep",
    "json_schema",
    "kind_of",
]

FORMAT: Final = 1
"""Version of the format; a file may say ``wfkernel: 1``."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Id = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(min_length=1, max_length=100, pattern=r"^[^\s.\[\]#](?:[^.\[\]#]*[^\s.\[\]#])?(?:#[0-9]+)?$"),
]
Text = Annotated[str, BeforeValidator(_as_text)]
Length = Annotated[int | float | str, Field(description="Seconds, or a text like 500ms, 5m, 2h 30m, 1d.")]
CodeReference = Annotated[
    str, Field(description="Code by its address: package.module:name, folder/file.py:name or book.ipynb#step.")
]
Conditional = Annotated[str, Field(description="${{ expression }} that gives true or false, or module:function.")]
Count = Annotated[int, Field(ge=0, strict=True)]


class Strict(BaseModel):
    """Unknown keys are mistakes, never ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Entry(Strict):
    """What every entry can say."""

    id: Id | None = None
    """Its name, unique in its list; no '.', '[', ']' or '#'."""
    name: Annotated[str, Field(max_length=200)] = ""
    """What people read in place of the id, at most 200 characters."""
    description: Annotated[str, Field(max_length=1000)] = ""
    """What it is for, at most 1000 characters."""


class Placed(Entry):
    """A step or a group of steps: it has an id, can be part of a graph, and runs on terms of its own."""

    id: Id
    """Its name, unique in its list; no '.', '[', ']' or '#'."""
    needs: list[Id] | Id | None = None
    """The steps of the same list this one waits for. One list entry with `needs` makes the list a graph."""
    dependencies: list[Id] | None = None
    """The same as `needs`."""
    parallel: bool | None = None
    """In a graph: false lets it run only while nothing else of the graph runs."""
    when: Conditional | None = None
    """The step is skipped where this is false."""
    continue_on_error: bool = False
    """A failure does not fail the workflow; the step's output is null."""
    continueOnError: bool = False
    """The same as `continue_on_error`."""
    with_: Annotated[Any, Field(alias="with")] = None
    """What it gets instead of the output of the entry before: values with ${{ expressions }} in them."""

    @property
    def wanted(self) -> list[str] | None:
        """What it needs, by either name of the key; None where nothing is said."""
        if self.needs is not None:
            return [self.needs] if isinstance(self.needs, str) else self.needs
        return self.dependencies

    @property
    def goes_on(self) -> bool:
        return self.continue_on_error or self.continueOnError


class Restarts(Strict):
    """How a worker process that dies under a step is replaced."""

    max_restarts: Count = 0
    """How often, `within` that time."""
    within: Annotated[Length, Field(description="The time in which so many may die; an hour.")] = 3600
    delay: Annotated[Length, Field(description="The wait before the first new one.")] = 0
    backoff: Annotated[float, Field(ge=1)] = 1
    """Factor from one wait to the next."""


class Work(Placed):
    """A step that does something."""

    foreach: str | list[Any] | None = None
    """Run once for every item of a list, or of the list that ${{ expression }} gives: `item` is the item, the output the
    list of outputs."""
    concurrency: Annotated[int, Field(ge=1, strict=True)] = 1
    """With `foreach`: how many items at a time."""
    retries: Count | None = None
    """Attempts after the first that fails; without it the workflow's."""
    delay: Length | None = None
    """The wait before the first retry."""
    backoff: Annotated[float, Field(ge=1)] | None = None
    """Factor from one wait to the next."""
    jitter: Annotated[float, Field(ge=0, le=1)] | None = None
    """The part of a wait that is random."""
    cap: Length | None = None
    """No wait is longer."""
    retry_on: CodeReference | list[CodeReference] | None = None
    """Exception class(es), or a function that tells for an exception, by address."""
    timeout: Length | None = None
    """What one attempt may take."""
    outputs: dict[str, Any] | str | None = None
    """The step's output, made of `result`: what the step returned."""
    worker: str | None = None
    """Where it runs: inline, threads, processes, dask, or a worker of your own."""
    compensate: CodeReference | None = None
    """Called with the step's output, to undo it, when a later step fails the run."""
    resume: CodeReference | None = None
    """Model of the answer the step asks for when it suspends."""
    suspend: CodeReference | None = None
    """Model of what it says when it suspends."""
    state: CodeReference | None = None
    """Model of the state it may set."""
    restarts: Count | Restarts | None = None
    """How often a worker process that dies under the step is replaced."""
    metadata: dict[str, Any] = {}
    """Anything, for programs that read the file."""


class UsesStep(Work):
    """Call a function: the names under `with` are its parameters."""

    uses: CodeReference


class RunStep(Work):
    """Run a command. Its output is `{stdout, exit_code}`; another exit status than 0 fails the step."""

    run: Annotated[str | list[str | int | float], Field(min_length=1)]
    """A text is given to the shell and holds no expressions (use `env`); a list is a program and its arguments."""
    env: dict[str, str | int | float | bool] = {}
    """Variables of its environment; expressions are allowed."""
    cwd: str | None = None
    """Folder to run in; relative ones begin at the file's."""


class AgentStep(Work):
    """Give a task to an agent registered by name."""

    agent: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    """Name of the agent: see `agents`, `register_agent`, `wf run --import`."""
    agentId: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    """The same as `agent`."""
    task: Annotated[str, Field(min_length=1, max_length=10_000)]
    """What to do; expressions are filled in."""

    @property
    def agent_name(self) -> str:
        return self.agent or self.agentId or ""


class NotebookStep(Work):
    """Run a notebook headless (`with` are its parameters), or one of its steps (``book.ipynb#step``)."""

    notebook: Annotated[str, Field(min_length=1)]
    """A notebook to run headless, or ``book.ipynb#step``, one of its steps as a function."""


class Group(Placed):
    """Several entries as one step."""

    steps: Annotated[list[EntryKind], Field(min_length=1)]
    """Entries one after the other, or a graph; together they are one step."""


class WorkflowStep(Placed):
    """A workflow as one step: another file (its path), or written here. `with` are its inputs."""

    workflow: str | Document
    """The path of another workflow file, relative to this one, or a workflow."""
    foreach: str | list[Any] | None = None
    """Run once for every item of a list, or of the list that ${{ expression }} gives: `item` is the item, the output the
    list of outputs."""
    concurrency: Annotated[int, Field(ge=1, strict=True)] = 1
    """With `foreach`: how many items at a time."""


class GraphBlock(Entry):
    """Steps that each start as soon as what they `need` is done."""

    graph: Annotated[list[BodyKind], Field(min_length=1)]
    """Steps, which say with `needs` what they wait for."""


class ParallelBlock(Entry):
    """Steps that run at the same time with the same input. Output: `{id: output}`."""

    parallel: Annotated[list[BodyKind], Field(min_length=1)]
    """The steps."""
    fail_fast: bool = False
    """Whether the first that fails stops the others."""


class Arm(Strict):
    """An arm of a branch."""

    if_: Annotated[Conditional, Field(alias="if", description="The arm runs where this is true.")]
    then: BodyKind
    """The step that runs then."""


class BranchBlock(Entry):
    """Every arm whose condition holds runs, all at the same time. Output: `{id: output}` of those that ran."""

    branch: Annotated[list[Arm], Field(min_length=1)]
    """The arms, each with `if` and `then`."""


class LoopBlock(Entry):
    """Run the body, then again with its own output while (or until) a condition holds for that."""

    id: None = None
    """A loop has none; its body has one."""
    loop: BodyKind
    """The step to run again and again, with its own output."""
    while_: Annotated[Conditional | None, Field(alias="while")] = None
    """It runs again as long as this holds for its output."""
    until: Conditional | None = None
    """It runs again until this holds for its output."""


class ForeachBlock(Entry):
    """Run the body for every item of the list before. Output: the outputs, in that order."""

    id: None = None
    """A foreach has none; its body has one."""
    foreach: BodyKind
    """The step to run for every item."""
    concurrency: Annotated[int, Field(ge=1, strict=True)] | CodeReference = 1
    """How many items at a time: a number, or ${{ expression }}, or module:function."""


class MapBlock(Entry):
    """Make a new value: values with ${{ expressions }} in them, or a function by address."""

    map: Any
    """The value, or the address of a function that makes it of the value before."""


class SourcesBlock(Entry):
    """Make a new value key by key: `{value}`, `{template}`, `{init}`, `{state}`, `{step, path}` or `{fn}`."""

    sources: dict[str, dict[str, Any]]
    """Where each key's value comes from."""


class SleepBlock(Entry):
    """Pass the value on after a while. The time to wake up is stored: no process has to wait."""

    sleep: Annotated[Length, Field(description="Seconds, a text like 2h, ${{ expression }} or module:function.")]


class SleepUntilBlock(Entry):
    """Pass the value on at a point in time."""

    sleep_until: int | float | str
    """ISO 8601, seconds since the epoch, ${{ expression }} or module:function."""


KINDS: Final[dict[str, type[BaseModel]]] = {
    "uses": UsesStep, "run": RunStep, "agent": AgentStep, "notebook": NotebookStep, "workflow": WorkflowStep,
    "graph": GraphBlock, "branch": BranchBlock, "loop": LoopBlock, "map": MapBlock, "sources": SourcesBlock, "sleep": SleepBlock,
    "sleep_until": SleepUntilBlock, "steps": Group, "parallel": ParallelBlock, "foreach": ForeachBlock,
}  # fmt: skip
"""The key that makes an entry what it is -> its model."""
_MARKS: Final = ("uses", "run", "agent", "notebook", "workflow", "graph", "branch", "loop", "map", "sources", "sleep", "sleep_until", "steps")  # fmt: skip


def kind_of(value: Any) -> str | None:
    """Which kind of entry `value` is, by its keys; None if none of them says."""
    if isinstance(value, BaseModel):
        return next((name for name, model in KINDS.items() if type(value) is model), None)
    if not isinstance(value, dict):
        return None
    for mark in _MARKS:
        if mark in value:
            return mark
    if "agentId" in value or "task" in value:
        return "agent"
    if isinstance(value.get("parallel"), list):
        return "parallel"
    return "foreach" if isinstance(value.get("foreach"), dict) else None


BodyKind = Annotated[
    Annotated[UsesStep, Tag("uses")]
    | Annotated[RunStep, Tag("run")]
    | Annotated[AgentStep, Tag("agent")]
    | Annotated[NotebookStep, Tag("notebook")]
    | Annotated[WorkflowStep, Tag("workflow")]
    | Annotated[Group, Tag("steps")],
    Discriminator(kind_of),
]
EntryKind = Annotated[
    Annotated[UsesStep, Tag("uses")]
    | Annotated[RunStep, Tag("run")]
    | Annotated[AgentStep, Tag("agent")]
    | Annotated[NotebookStep, Tag("notebook")]
    | Annotated[WorkflowStep, Tag("workflow")]
    | Annotated[Group, Tag("steps")]
    | Annotated[GraphBlock, Tag("graph")]
    | Annotated[ParallelBlock, Tag("parallel")]
    | Annotated[BranchBlock, Tag("branch")]
    | Annotated[LoopBlock, Tag("loop")]
    | Annotated[ForeachBlock, Tag("foreach")]
    | Annotated[MapBlock, Tag("map")]
    | Annotated[SourcesBlock, Tag("sources")]
    | Annotated[SleepBlock, Tag("sleep")]
    | Annotated[SleepUntilBlock, Tag("sleep_until")],
    Discriminator(kind_of),
]


class InputField(Strict):
    """One input of a workflow."""

    type: Literal["string", "integer", "number", "boolean", "array", "object", "any"] = "any"
    """`string`, `integer`, `number`, `boolean`, `array`, `object` or `any`."""
    default: Any = None
    """What it is where nothing is given."""
    required: bool | None = None
    """Whether it must be given; without this it must where it has no default."""
    description: str = ""
    """What it is, for forms."""
    enum: Annotated[list[Any], Field(min_length=1)] | None = None
    """The values it can have."""
    minimum: float | None = None
    """The least a number can be."""
    maximum: float | None = None
    """The most a number can be."""
    pattern: str | None = None
    """Regular expression a text has to match."""


class LimitsEntry(Strict):
    """How far a run may go; beyond it fails with an error of that name."""

    iterations: Annotated[int, Field(gt=0, strict=True)] | None = None
    """How often one loop may go round."""
    seconds: Length | None = None
    """How long the run may take from its start, waiting included."""
    concurrency: Annotated[int, Field(gt=0, strict=True)] | None = None
    """How many steps may execute at the same time; further ones wait."""
    memory: Annotated[int, Field(gt=0, strict=True)] | None = None
    """Bytes the process that executes the run, and those it started, may occupy."""
    cpu: Length | None = None
    """CPU time these processes may use."""


class Document(Strict):
    """A workflow."""

    wfkernel: Literal[1] = 1
    """Version of this format."""
    id: Id | None = None
    """Its name; without it the name, or the file's."""
    name: Annotated[str, Field(max_length=200)] = ""
    """What people read, at most 200 characters."""
    description: Annotated[str, Field(max_length=1000)] = ""
    """What it is for, at most 1000 characters."""
    version: Text = ""
    """Of the workflow, for people."""
    author: str = ""
    """Who answers for it."""
    tags: list[Text] = []
    """Words to find it by."""
    inputs: (
        dict[str, InputField | Literal["string", "integer", "number", "boolean", "array", "object", "any"]] | None
    ) = None
    """What it is started with: `name: type`, or `name: {type, default, ...}`."""
    input: CodeReference | None = None
    """Instead of `inputs`: a type by address, for example a pydantic model."""
    output_type: CodeReference | None = None
    """A type that describes the result."""
    state: CodeReference | None = None
    """Model of the run's state."""
    output: Any = None
    """The result, made of ${{ expressions }}; without it the output of the last entry."""
    retries: Count = 0
    """Attempts after the first that fails, for steps that say nothing of their own."""
    delay: Annotated[Length, Field(description="The wait before a retry, for steps that say nothing of their own.")] = 0
    limits: LimitsEntry | None = None
    """How far a run may go."""
    rollback_to: str = ""
    """A step. A run that fails has the state it had when that step ended, and a retry does again what came after; `start`: all."""
    agents: dict[str, CodeReference] = {}
    """Agents by name: the address of a function, or of an object with a method `run`."""
    vars: dict[str, Any] = {}
    """Constants: `vars.NAME` in expressions."""
    context: dict[str, Any] = {}
    """The same as `vars`."""
    metadata: dict[str, Any] = {}
    """Anything, for programs that read the file."""
    steps: Annotated[list[EntryKind], Field(min_length=1)]
    """One after the other; a graph as soon as one of them says `needs` (or `dependencies`)."""


for _model in (Group, WorkflowStep, GraphBlock, ParallelBlock, Arm, BranchBlock, LoopBlock, ForeachBlock, Document):
    _model.model_rebuild()


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of workflow files, for editors and other tools."""
    schema = Document.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"wfkernel workflow, format {FORMAT}", **{
        key: value for key, value in schema.items() if key != "title"}}  # fmt: skip
