"""`load_workflow`: a workflow from its file, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wfkernel.engine.agents import register_agent, registered_agents
from wfkernel.engine.compile import compile_workflow
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.builder import Definition
from wfkernel.plan.load import WorkflowFileInvalid, read_workflow
from wfkernel.plan.template import file_template

__all__ = ["load_workflow"]


def load_workflow(path: str | Path, *, agents: Mapping[str, Any] | None = None, **options: Any) -> Workflow:
    """The workflow a file (``*.wf.yaml`` or JSON) describes. It runs like one made with the builder.

    Args:
        path: the file. Code it names is searched for where Python looks and in the file's folder.
        agents: agents by name, besides those registered and those the file names.
        options: of `Workflow`: ``store``, ``hooks``, ``limits``, ...

    Raises:
        WorkflowFileInvalid: with ``file:line:col`` for everything that is wrong, an agent that nobody registered included.
    """
    for name, agent in (agents or {}).items():
        register_agent(name, agent)
    loaded = read_workflow(path, agents=registered_agents())
    if loaded.warnings:
        raise WorkflowFileInvalid(loaded.warnings)

    def make(id: str, **about: Any) -> Definition:
        return Workflow(id, **{**about, **options})

    made = compile_workflow(loaded, make)
    assert isinstance(made, Workflow)
    made.source = str(Path(path).resolve())
    assert loaded.document is not None
    made.template = file_template(made.id, loaded.document)
    return made
