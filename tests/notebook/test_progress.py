"""`write`, `progress` and `track` inside a step."""

from __future__ import annotations


def test_lines_and_progress_are_kept_with_the_run(kernel):
    k = kernel()
    k.run("from wfkernel import write, progress, track")
    result = k.run(
        "%%step work\nfor i in track(range(5), label='rows'):\n    pass\nprogress(1, 4, 'phase')\nwrite('almost', 'there')"
    )
    assert result.status == "ok", result.text
    rows = eval(
        k.value("__import__('wfkernel').open_store().query(\"SELECT type, payload->>'$.text', payload->'$.done' "
                "FROM events WHERE type IN ('step.output', 'step.progress') ORDER BY seq\")[1]")
    )  # fmt: skip
    assert ("step.output", "almost there", None) in rows
    assert [r[2] for r in rows if r[0] == "step.progress"] == ["0", "5", "1"]
    assert "almost there" in result.text


def test_a_live_front_end_sees_the_line_change_while_the_step_runs(kernel):
    k = kernel(live=True)
    k.run("import time\nfrom wfkernel import track")
    message = k.send("%%step slow\nfor i in track(range(8)):\n    time.sleep(0.1)", cell_id="slow")
    seen = []
    while True:
        reply = k.client.get_iopub_msg(timeout=30)
        if reply["parent_header"].get("msg_id") != message:
            continue
        if reply["msg_type"] in ("display_data", "update_display_data"):
            seen.append((reply["msg_type"], reply["content"]["data"]["text/html"]))
        if reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
            break
    assert seen[0][0] == "display_data"
    assert len(seen) >= 3
    assert all(kind == "update_display_data" for kind, _ in seen[1:])
    assert len({html for _, html in seen}) >= 3


def test_track_outside_a_step_only_iterates(kernel):
    k = kernel()
    k.run("from wfkernel import track, write")
    assert k.value("list(track([1, 2]))") == "[1, 2]"
    assert "works inside a step" in k.run("write('x')").text


def test_a_thread_the_step_started_belongs_to_it(kernel):
    k = kernel()
    result = k.run(
        "%%step threaded\nimport threading\nfrom wfkernel import write\n"
        "t = threading.Thread(target=lambda: write('from a thread'))\nt.start(); t.join(); del t"
    )
    assert "from a thread" in result.text
