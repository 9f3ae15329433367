"""`suspend()` in a step stops the run until somebody answers."""

from __future__ import annotations

import json

import pytest

MODEL = "from pydantic import BaseModel, Field\nclass Approval(BaseModel):\n    approve: bool\n    limit: int = Field(10, le=100)"
SETUP = f"from wfkernel import suspend\n{MODEL}"
APPROVE = (
    "%%step approve\nopen('ran', 'a').write('approve ')\n"
    "answer = suspend(Approval, message='ok?')\nverdict = (answer.approve, answer.limit)"
)
AFTER = "%%step publish\npublished = verdict"


@pytest.fixture
def suspended(kernel):
    k = kernel()
    k.run(SETUP)
    result = k.run(APPROVE)
    assert result.error == ("RunSuspended", "step 'approve' suspended the run: ok?")
    return k


def status(k) -> str:
    return eval(k.value("__import__('wfkernel').open_store().runs()[0]['status']"))


def test_the_run_is_suspended_and_the_cell_says_so_in_one_line(kernel):
    k = kernel()
    k.run(SETUP)
    result = k.run(APPROVE)
    assert result.status == "error"  # so that Run All stops here
    assert "ok?" in result.text
    assert "Traceback" not in result.text
    assert status(k) == "suspended"


def test_an_except_clause_of_the_step_does_not_swallow_it(kernel):
    k = kernel()
    k.run(SETUP)
    result = k.run("%%step s\ntry:\n    suspend(Approval, 'm')\nexcept Exception:\n    x = 1")
    assert result.error[0] == "RunSuspended"


def test_steps_below_say_what_they_wait_for(suspended):
    result = suspended.run(AFTER)
    assert result.error[0] == "StepWaiting"
    assert "'publish' waits for step 'approve' (suspended: ok?), which binds 'verdict'" in result.text
    assert "NameError" not in result.text


def test_the_answer_makes_the_step_run_again_from_its_start(suspended, tmp_path):
    result = suspended.run("""%workflow resume --data '{"approve": true}'""")
    assert result.status == "ok", result.text
    assert suspended.value("verdict") == "(True, 10)"
    assert (tmp_path / "ran").read_text() == "approve approve "
    assert suspended.run(AFTER).status == "ok"
    assert suspended.value("published") == "(True, 10)"
    assert status(suspended) == "success"


def test_a_wrong_answer_is_refused_field_by_field_and_the_run_stays_suspended(suspended):
    result = suspended.run("""%workflow resume --data '{"approve": "perhaps", "limit": 500}'""")
    assert result.error[0] == "AnswerInvalid"
    assert "approve: Input should be a valid boolean" in result.text
    assert "limit: Input should be less than or equal to 100" in result.text
    assert "Traceback" not in result.text
    assert status(suspended) == "suspended"
    assert suspended.run("""%workflow resume --data '{"approve": true, "limit": 7}'""").status == "ok"
    assert suspended.value("verdict") == "(True, 7)"


def test_a_json_schema_asks_like_a_model_and_gives_plain_data(kernel):
    k = kernel()
    k.run(SETUP)
    schema = "{'type': 'object', 'properties': {'limit': {'type': 'integer', 'maximum': 10}}, 'required': ['limit']}"
    assert k.run(f"%%step ask\nanswer = suspend({schema}, 'how many?')").error[0] == "RunSuspended"
    refused = k.run("""%workflow resume --data '{"limit": 11}'""")
    assert refused.error[0] == "AnswerInvalid"
    assert "limit: 11 is greater than the maximum of 10" in refused.text
    assert k.run("""%workflow resume --data '{"limit": 7}'""").status == "ok"
    assert k.value("answer") == "{'limit': 7}"
    no_schema = k.run("%%step odd\nodd = suspend({'type': 3}, 'how many?')")
    assert no_schema.error[0] == "DefinitionError"
    assert "suspend() in step 'odd': not a JSON schema: 3 is not" in no_schema.text


def test_the_suspension_survives_the_kernel(suspended, kernel):
    suspended.kill()
    k = kernel()
    k.run(SETUP)
    assert k.run("""%workflow resume --data '{"approve": false}'""").status == "ok"
    assert k.run(APPROVE).status == "ok"
    assert k.value("verdict") == "(False, 10)"


def test_the_answer_is_kept_when_the_step_is_restored(suspended, kernel, tmp_path):
    suspended.run("""%workflow resume --data '{"approve": true}'""")
    suspended.close()
    k = kernel()
    k.run(SETUP)
    assert k.run(APPROVE).restored
    assert k.value("verdict") == "(True, 10)"


def test_several_questions_in_one_step_get_their_answers_in_order(kernel):
    k = kernel()
    k.run(SETUP)
    cell = "%%step ask\na = suspend(message='first')\nb = suspend(message='second')\nboth = [a, b]"
    assert "first" in k.run(cell).text
    assert "second" in k.run("%workflow resume --data 1").text
    assert k.run("%workflow resume --data 2").status == "ok"
    assert k.value("both") == "[1, 2]"


def test_other_numbers_need_another_answer(kernel):
    k = kernel()
    k.run(SETUP)
    cell = "%%step ask\nok = suspend(Approval, message=f'publish {number}?')"
    k.run("number = 1")
    k.run(cell)
    k.run("""%workflow resume --data '{"approve": true}'""")
    assert k.value("ok.approve") == "True"
    k.run("number = 2")
    assert "publish 2?" in k.run(cell).text


def test_answers_can_be_prepared_for_runs_nobody_watches(kernel):
    k = kernel(WFKERNEL_ANSWERS=json.dumps({"approve": {"approve": True}}))
    k.run(SETUP)
    assert k.run(APPROVE).status == "ok"
    assert k.value("verdict") == "(True, 10)"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%workflow resume --data {broken", "not JSON"),
        ("%workflow resume --data 1 --step other", "'other' is not suspended; suspended: approve"),
        ("%workflow resme", "'resme' is not one of"),
        ("%workflow resme", "did you mean 'resume'?"),
        ("%workflow show nonesuch", "there is no run 'nonesuch'"),
    ],
)
def test_mistakes_are_one_line(suspended, line, words):
    result = suspended.run(line)
    assert result.status == "error"
    assert words in result.text
    assert len(result.text.strip().splitlines()) == 1, result.text


def test_resuming_a_finished_run_is_refused(kernel):
    k = kernel()
    k.run("%%step a\nx = 1")
    result = k.run("%workflow resume --data 1")
    assert result.error[0] == "RunNotSuspended"
    assert "it is success" in result.text


def test_workflow_shows_the_run(suspended):
    shown = suspended.run("%workflow").text
    assert "approve" in shown
    assert "suspended" in shown
    assert "approve" in suspended.run("%workflow show latest").text
    assert "suspended" in suspended.run("%workflow list").text
