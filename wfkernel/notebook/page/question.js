// The question of a suspended step, and how the notebook goes on after its answer.

// Run the cell with this id and all cells below it, as the notebook's own "Run Selected Cell and All Below" does, and
// return whether there was a notebook that took it. JupyterLab and Notebook 7 run the command named by a clicked
// element's `data-commandlinker-command`; they mark the click as handled, which is how anything else is told apart.
// The command works on the active cell, and the cell that has the focus is the active one. If the notebook is not
// trusted, JupyterLab asks before it runs anything.
function runCellsFrom(model, place, cellId) {
  const cells = model.widget_manager?.context?.model?.cells;
  const notebook = place.closest(".jp-Notebook");
  if (!cells || !notebook || !cellId) return false;
  const index = [...cells].findIndex((cell) => cell.id === cellId);
  const cell = notebook.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  if (!cell) return false;
  const link = el("span", { "data-commandlinker-command": "notebook:run-all-below", hidden: true });
  place.append(link);
  cell.focus({ preventScroll: true });
  const handled = !link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  link.remove();
  // The command makes the last cell the active one; whoever answered wants to see this one go on.
  if (handled) setTimeout(() => document.querySelector(".jp-Dialog") || cell.focus(), 100);
  return handled;
}

const keyOf = ({ index, schema, message, payload }) => JSON.stringify([index, schema, message, payload]);

/** The question of a suspended step: message, payload, form. */
function question(suspension, submit) {
  const form = buildForm(suspension.schema);
  const button = el("button", { type: "submit", class: "wf-resume" }, "Resume");
  const general = el("p", { class: "wf-note", role: "status", hidden: true });
  const inputs = el("fieldset", { class: "wf-plain" }, form.node, button);
  const node = el("form", { class: "wf-question", novalidate: true }, inputs, general);
  const { message, payload } = suspension;
  if (payload !== null) {
    const flat = payload.constructor === Object && Object.values(payload).every((v) => typeof v !== "object");
    const rows = flat && Object.entries(payload).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))]);
    node.prepend(flat ? el("dl", {}, ...rows) : el("pre", {}, JSON.stringify(payload, null, 2)));
  }
  if (message) node.prepend(el("p", { class: "wf-message" }, message));
  let refused = "";
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { data, problems } = form.read();
    form.show(problems);
    if (problems.length) return form.focusProblem();
    inputs.disabled = true;
    const late = setTimeout(() => say(general, "waiting for the kernel, which is busy or gone"), 2000);
    const reply = await submit(data);
    clearTimeout(late);
    say(general, "");
    if (reply.ok) return;
    inputs.disabled = false;
    form.show(reply.problems ?? []);
    form.focusProblem();
  });
  return {
    node,
    key: keyOf(suspension),
    /** Problems of an answer given elsewhere; said once, so that they do not come back while they are put right. */
    refuse(problems) {
      const now = JSON.stringify(problems);
      if (now !== refused && !inputs.disabled) form.show(problems);
      refused = now;
    },
  };
}
