"""Settings: which source counts, and what happens to mistakes in them."""

from __future__ import annotations

import pytest

from wfkernel.engine.workflow import Workflow
from wfkernel.errors import SettingsInvalid
from wfkernel.settings import load, settings
from wfkernel.store.locate import find_store_path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is a project, with no setting from outside."""
    for name in ("WFKERNEL_STORE", "WFKERNEL_KEY_FILE"):
        monkeypatch.delenv(name)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "down")
    return tmp_path


class TestWhatCounts:
    def test_without_anything_the_defaults(self, project):
        found = load()
        assert found.values.durability == "fsync"
        assert set(found.origins.values()) == {"default"}
        assert found.file is None

    def test_a_file_counts_more_than_the_default_from_every_folder_below_it(self, project):
        (project / "wfkernel.toml").write_text('# ours\ndurability = "write"\n')
        found = load()
        assert found.values.durability == "write"
        assert found.origins["durability"] == f"{project / 'wfkernel.toml'}:2"
        assert found.origins["context"] == "default"

    def test_the_environment_counts_more_than_the_file(self, project, monkeypatch):
        (project / "wfkernel.toml").write_text('durability = "write"\nconcurrency = 3\n')
        monkeypatch.setenv("WFKERNEL_DURABILITY", "exit")
        found = load()
        assert (found.values.durability, found.values.concurrency) == ("exit", 3)
        assert found.origins["durability"] == "WFKERNEL_DURABILITY"

    def test_what_the_code_says_counts_more_than_the_environment(self, project, monkeypatch):
        monkeypatch.setenv("WFKERNEL_DURABILITY", "exit")
        assert Workflow("a").options.durability == "exit"
        assert Workflow("a", durability="write").options.durability == "write"

    def test_checkpoints_are_a_setting_that_code_overrides(self, project, monkeypatch):
        monkeypatch.setenv("WFKERNEL_CHECKPOINTS", "10 steps, keep 3")
        assert str(Workflow("a").options.checkpoints) == "every 10 steps, keep 3"
        assert str(Workflow("a", checkpoints="manual").options.checkpoints) == "manual"
        monkeypatch.setenv("WFKERNEL_CHECKPOINTS", "now and then")
        with pytest.raises(SettingsInvalid, match="WFKERNEL_CHECKPOINTS: checkpoints = 'now and then'"):
            Workflow("a")

    def test_the_table_in_pyproject_is_the_same(self, project):
        (project / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.wfkernel]\ncontext = false\n')
        found = load()
        assert found.values.context is False
        assert found.origins["context"] == f"{project / 'pyproject.toml'}:5"

    def test_wfkernel_toml_stands_in_for_the_table(self, project):
        (project / "pyproject.toml").write_text("[tool.wfkernel]\ncontext = false\n")
        (project / "wfkernel.toml").write_text("concurrency = 2\n")
        assert (settings().context, settings().concurrency) == (True, 2)

    def test_an_edited_file_counts_at_once(self, project):
        (project / "wfkernel.toml").write_text("concurrency = 2\n")
        assert settings().concurrency == 2
        (project / "wfkernel.toml").write_text("concurrency = 31\n")
        assert settings().concurrency == 31

    def test_a_path_in_a_file_counts_from_the_file(self, project):
        (project / "wfkernel.toml").write_text('store = "data/runs.duckdb"\n')
        assert find_store_path() == project / "data" / "runs.duckdb"
        assert find_store_path(project / "deep") == project / "data" / "runs.duckdb"

    def test_answers_are_a_table_or_json(self, project, monkeypatch):
        (project / "wfkernel.toml").write_text("[answers]\napprove = {approve = true}\n")
        assert settings().answers == {"approve": {"approve": True}}
        monkeypatch.setenv("WFKERNEL_ANSWERS", '{"approve": [1, 2]}')
        assert settings().answers == {"approve": [1, 2]}

    def test_an_empty_variable_is_none(self, project, monkeypatch):
        monkeypatch.setenv("WFKERNEL_CONCURRENCY", "")
        assert settings().concurrency is None


class TestMistakes:
    def test_all_are_told_at_once_each_with_its_place_and_what_was_meant(self, project, monkeypatch):
        (project / "wfkernel.toml").write_text('durabilty = "write"\nconcurrency = "many"\n')
        monkeypatch.setenv("WFKERNEL_EMBEDER", "wordllama")
        monkeypatch.setenv("WFKERNEL_DURABILITY", "forever")
        with pytest.raises(SettingsInvalid) as caught:
            settings()
        file = project / "wfkernel.toml"
        told = sorted(caught.value.problems)
        assert told[0].startswith(f"{file}:1: there is no setting 'durabilty'; did you mean durability?")
        assert told[1].startswith(f"{file}:2: concurrency = 'many': Input should be a valid integer")
        assert told[2].startswith("WFKERNEL_DURABILITY: durability = 'forever': Input should be 'fsync', 'write' or")
        assert told[3] == "WFKERNEL_EMBEDER: there is no setting of this name; did you mean WFKERNEL_EMBEDDER?"

    def test_a_file_that_is_no_toml_is_told_with_line_and_column(self, project):
        (project / "wfkernel.toml").write_text('context = true\nstore = "x\n')
        with pytest.raises(SettingsInvalid, match=r"wfkernel\.toml:2:\d+: "):
            settings()

    def test_answers_that_are_no_json(self, project, monkeypatch):
        monkeypatch.setenv("WFKERNEL_ANSWERS", "{yes")
        with pytest.raises(SettingsInvalid, match=r"WFKERNEL_ANSWERS: answers = .* not JSON"):
            settings()

    def test_a_retention_that_is_no_time(self, project):
        (project / "wfkernel.toml").write_text('retention = "soon"\n')
        with pytest.raises(SettingsInvalid, match=r"wfkernel\.toml:1: retention = 'soon'"):
            settings()
