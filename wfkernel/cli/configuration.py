"""``wf config``: every setting, its value, and where that came from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from wfkernel.cli.shared import JsonOption, family, print_json, print_table
from wfkernel.errors import DefinitionError

commands = family()


@commands.command()
def config(
    name: Annotated[str | None, typer.Argument(help="Print the value of this setting alone.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of wfkernel.toml, for editors.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the settings in force here and where each comes from: the environment, a file, or the default."""
    from wfkernel.settings import PREFIX, load, model

    if schema:
        print_json(model().model_json_schema())
        return
    loaded = load()
    values = model()(**asdict(loaded.values)).model_dump(mode="json")
    if name is not None:
        if name not in values:
            raise DefinitionError(f"there is no setting '{name}'. There are {', '.join(values)}.")
        plain = isinstance(values[name], str) and not as_json
        typer.echo(values[name]) if plain else print_json(values[name])
        return
    if as_json:
        print_json({name: {"value": value, "from": loaded.origins[name]} for name, value in values.items()})
        return
    about = {name: field.description or "" for name, field in model().model_fields.items()}
    rows = [(n, "" if v is None else v, loaded.origins[n], about[n]) for n, v in values.items()]
    print_table(["setting", "value", "from", ""], rows)
    typer.echo(f"file     {loaded.file or 'none'}")
    typer.echo(f"variable {PREFIX}NAME, which counts more than the file")
