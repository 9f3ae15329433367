// The live view of a run (`RunView` in runview.py). The files of this folder are one module: form, control, run, rich, log,
// graph, timeline, question, document, main.
//
// The page is kept and only what changed is written into it, so that an update, ten times a second, touches neither what
// somebody is typing nor where they have scrolled to.

const button = (text, onclick, attributes = {}) => el("button", { type: "button", class: "wf-button", onclick, ...attributes }, text);
const problemsOf = (reply) => (reply.problems ?? []).map(([path, problem]) => (path ? `${path}: ${problem}` : problem)).join("; ");

/** What went wrong and what can be done about it, with the traceback folded. */
function errorBox() {
  const words = el("p", { class: "wf-error", role: "alert" });
  const hint = el("p", { class: "wf-note", hidden: true });
  const trace = el("pre", { tabindex: 0, "aria-label": "Traceback" });
  const fold = el("details", {}, el("summary", {}, "Traceback"), trace);
  const node = el("div", { class: "wf-error-box", hidden: true }, words, hint, fold);
  return {
    node,
    update(error, prefix = "") {
      node.hidden = !error;
      if (!error) return;
      say(words, prefix + errorWords(error));
      say(hint, error.hint);
      fold.hidden = !error.traceback;
      if (trace.textContent !== error.traceback) trace.textContent = error.traceback;
    },
  };
}

/** The forms of the suspended steps, beneath each other. */
function questionsPane(run, place, only) {
  const node = el("div", { class: "wf-questions" });
  const asked = new Map();
  const note = el("p", { class: "wf-note", role: "status", hidden: true });
  node.append(note);
  const tell = (words) => {
    say(note, words);
    node.hidden = false; // the last question may have gone before the kernel's reply came
  };

  const answer = (path) => async (data) => {
    const reply = await ask(run.model, { op: "resume", step: path, data });
    if (!reply.ok) return reply;
    tell(reply.message || "The answer is saved. The step goes on when its cell runs.");
    if (reply.goes_on) return reply;
    if (!runCellsFrom(run.model, place, reply.cell_id || run.model.get("cell_id"))) {
      const went = await ask(run.model, { op: "continue", step: path });
      tell(went.message || problemsOf(went));
    }
    return reply;
  };

  return {
    node,
    focus: () => node.querySelector("input, select, textarea, button")?.focus(),
    update() {
      const open = new Map([...run.steps.values()].filter((s) => s.suspension && (!only || s.path === only)).map((s) => [s.path, s]));
      for (const [path, one] of asked) {
        const suspension = open.get(path)?.suspension;
        if (suspension && keyOf(suspension) === one.key) one.refuse(suspension.problems);
        else (one.box.remove(), asked.delete(path));
      }
      for (const [path, { suspension }] of open) {
        if (asked.has(path)) continue;
        say(note, "");
        const one = question(suspension, answer(path));
        one.box = only ? one.node : el("div", { class: "wf-asked" }, el("p", { class: "wf-asked-by" }, el("strong", {}, path), " asks"), one.node);
        asked.set(path, one);
        note.before(one.box);
      }
      node.hidden = !open.size && note.hidden;
      if (run.head.status === "running" && !open.size && [...run.steps.values()].some((s) => s.status === "running")) say(note, "");
    },
  };
}

/** One step in full: what it did, what it wrote, what can be done with it. */
function inspector(run, act, close, openLevel) {
  const icon = el("span", { class: "wf-icon", "aria-hidden": "true" });
  const name = el("span", { class: "wf-name" });
  const status = el("span", { class: "wf-status", role: "status" });
  const time = el("span", { class: "wf-time" });
  const shut = el("button", { type: "button", class: "wf-plain-button", "aria-label": "Close the step", onclick: close }, "×");
  const facts = el("p", { class: "wf-muted" });
  const bar = el("progress", {});
  const counted = el("span");
  const progress = el("div", { class: "wf-progress" }, bar, counted);
  const error = errorBox();
  const deeper = button("Open", () => openLevel(path));
  const retry = button("Retry from here", () => act("retry", path), { title: "Run this step and what depends on it again" });
  const travel = button("Time travel to here", () => act("travel", path), { title: "Forget this step and what came after it, and stop there" });
  const buttons = el("div", { class: "wf-buttons" }, deeper, retry, travel);
  const outputs = el("div", { class: "wf-outputs" });
  const log = logPane(run);
  const node = el("section", { class: "wf-inspector", "aria-label": "Step", hidden: true }, el("div", { class: "wf-line" }, icon, name, status, time, shut), facts, progress, error.node, buttons, outputs, log.node);
  let path = null;
  let drawn = 0;
  return {
    node,
    show(chosen) {
      path = chosen;
      node.hidden = path === null;
      drawn = 0;
      outputs.replaceChildren();
      log.only(path);
    },
    update(ops) {
      if (path === null) return;
      const step = run.steps.get(path) ?? { path, status: "pending", reads: [], binds: [], waits_for: [], attempt: 0, executions: 0 };
      const shown = shownStatus(step);
      node.dataset.status = shown;
      node.setAttribute("aria-label", `Step ${path}`);
      say(icon, ICONS[shown]);
      say(name, path);
      say(status, statusWords(step));
      say(time, seconds(run.took(step)));
      const parts = [];
      if (step.executions > 1) parts.push(`executed ${step.executions} times`);
      if (step.iteration) parts.push(`round ${step.iteration}`);
      if (step.waits_for.length) parts.push(`waits for ${step.waits_for.join(", ")}`);
      if (step.reads.length) parts.push(`reads ${step.reads.join(", ")}`);
      if (step.binds.length) parts.push(`binds ${step.binds.join(", ")}`);
      say(facts, parts.join(" · "));
      const { done, total, label } = step.progress ?? {};
      progress.hidden = !step.progress;
      bar.hidden = !total;
      if (total) [bar.max, bar.value] = [total, done];
      bar.setAttribute("aria-label", `Progress of ${path}`);
      say(counted, step.progress ? `${done}${total ? ` / ${total}` : ""} ${label}`.trim() : "");
      error.update(step.error);
      deeper.hidden = !openLevel.can(path);
      const over = !["pending", "running", "waiting"].includes(step.status);
      retry.hidden = !(ops.includes("retry") && over && run.head.status !== "running");
      travel.hidden = !(ops.includes("travel") && over && run.head.status !== "running");
      buttons.hidden = deeper.hidden && retry.hidden && travel.hidden;
      const rich = run.rich.get(path) ?? [];
      if (rich.length !== drawn || rich.at(-1) !== outputs.last) {
        drawn = rich.length;
        outputs.last = rich.at(-1);
        outputs.replaceChildren(...rich.map((data) => richOutput(run.model, data)));
      }
      log.update(false);
    },
  };
}

/** The whole run. */
function runPane(run, place) {
  const { model } = run;
  const icon = el("span", { class: "wf-icon", "aria-hidden": "true" });
  const name = el("span", { class: "wf-name" });
  const status = el("span", { class: "wf-status", role: "status" });
  const time = el("span", { class: "wf-time" });
  const suspend = button("Suspend", () => act("suspend"));
  const cancel = button("Cancel", () => act("cancel"));
  const resume = button("Resume", () => (questionsOpen() ? questions.focus() : act("resume")));
  const proceed = button("Continue", () => act("proceed"));
  const actions = el("div", { class: "wf-actions", role: "toolbar", "aria-label": "Run" }, resume, proceed, suspend, cancel);
  const line = el("div", { class: "wf-line" }, icon, name, status, time, actions);
  const whole = el("progress", { class: "wf-whole", "aria-label": "Steps done" });
  const given = el("p", { class: "wf-muted wf-given" });
  const note = el("p", { class: "wf-note", role: "status", hidden: true });
  const error = errorBox();
  const questions = questionsPane(run, place, null);
  let selected = null;

  const choose = (path) => {
    selected = path === selected ? null : path;
    graph.select(selected);
    timeline.select(selected);
    detail.show(selected);
    update();
  };
  const graph = graphPane(run, choose);
  const timeline = timelinePane(run, choose);
  const log = logPane(run);
  const openLevel = (path) => (show("Graph"), graph.open(path));
  openLevel.can = (path) => !!graph.opens(path);
  const detail = inspector(run, act, () => choose(selected), openLevel);

  const panes = { Graph: graph, Timeline: timeline, Log: log };
  const tabs = {};
  const strip = el("div", { class: "wf-tabs", role: "tablist", "aria-label": "Views of the run" });
  for (const [title, pane] of Object.entries(panes)) {
    tabs[title] = el("button", { type: "button", role: "tab", class: "wf-tab", onclick: () => show(title) }, title);
    strip.append(tabs[title]);
    pane.node.setAttribute("role", "tabpanel");
    pane.node.setAttribute("aria-label", title);
  }
  strip.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const titles = Object.keys(tabs);
    show(titles[(titles.indexOf(shown) + by + titles.length) % titles.length]);
    tabs[shown].focus();
    event.preventDefault();
  });
  let shown = "Graph";
  function show(title) {
    shown = title;
    for (const [one, pane] of Object.entries(panes)) {
      pane.node.hidden = one !== title;
      tabs[one].setAttribute("aria-selected", one === title);
      tabs[one].tabIndex = one === title ? 0 : -1;
    }
    panes[title].update(false);
  }

  async function act(op, step) {
    say(note, "");
    const late = setTimeout(() => say(note, "waiting for the kernel, which is busy or gone"), 2000);
    const reply = await ask(model, step === undefined ? { op } : { op, step });
    clearTimeout(late);
    say(note, reply.ok ? reply.message ?? "" : problemsOf(reply));
    if (!reply.ok || !reply.cell_id) return;
    if (op === "travel") say(note, `The run is where it was before ${step}. Run its cell to go on.`);
    else runCellsFrom(model, place, reply.cell_id);
  }

  const head = el("header", {}, line, whole, given, note, error.node);
  const node = el("section", { class: "wf-run", "aria-label": "workflow run" }, head, questions.node, strip, graph.node, timeline.node, log.node, detail.node);

  function update() {
    const { head: h } = run;
    const ops = model.get("ops");
    const all = run.top();
    const done = all.filter((step) => step.status === "success").length;
    const count = Math.max(all.length, (run.chart[""]?.boxes ?? []).filter(({ kind }) => kind !== "branch").length);
    head.dataset.status = h.status;
    say(icon, ICONS[h.status]);
    say(name, h.workflow || "run");
    say(status, `${h.status}, ${done} of ${count} steps done`);
    say(time, seconds(h.duration == null ? null : h.duration + (h.status === "running" ? run.elapsed : 0)));
    [whole.max, whole.value] = [Math.max(1, count), done];
    whole.hidden = count < 2;
    say(given, [`run ${h.run_id}`, ...Object.entries(h.params).map(([k, v]) => `${k} = ${JSON.stringify(v)}`)].join(" · "));
    const failed = all.find((step) => step.error && ["failed", "tripwire"].includes(step.status));
    error.update(failed ? failed.error : h.status === "running" ? null : h.error, failed ? `${failed.path}: ` : "");
    const live = ["running", "waiting", "paused"].includes(h.status);
    suspend.hidden = !(ops.includes("suspend") && h.status === "running");
    cancel.hidden = !(ops.includes("cancel") && (live || h.status === "suspended"));
    resume.hidden = !(ops.includes("resume") && h.status === "suspended");
    proceed.hidden = !(ops.includes("proceed") && h.status === "paused");
    actions.hidden = [...actions.children].every((one) => one.hidden);
    say(tabs.Log, run.lines.length ? `Log ${run.gone + run.lines.length}` : "Log");
    questions.update();
    panes[shown].update(false);
    detail.update(ops);
  }
  const questionsOpen = () => [...run.steps.values()].some((step) => step.suspension);
  show("Graph");
  return { node, update };
}

/** One step and its question, beneath its cell. */
function stepPane(run, place, path) {
  const icon = el("span", { class: "wf-icon", "aria-hidden": "true" });
  const status = el("span", { class: "wf-status", role: "status" });
  const time = el("span", { class: "wf-time" });
  const error = errorBox();
  const lines = el("pre", { class: "wf-tail", tabindex: 0, "aria-label": `Log of ${path}` });
  const questions = questionsPane(run, place, path);
  const step_ = el("div", { class: "wf-step" }, el("div", { class: "wf-line" }, icon, el("span", { class: "wf-name" }, path), status, time), error.node, lines, questions.node);
  const node = el("section", { class: "wf-run", "aria-label": `step ${path}` }, step_);
  return {
    node,
    update() {
      const step = run.steps.get(path);
      if (!step) return;
      const shown = shownStatus(step);
      step_.dataset.status = shown;
      say(icon, ICONS[shown]);
      say(status, statusWords(step));
      say(time, seconds(run.took(step)));
      error.update(step.error);
      say(lines, run.lines.filter((one) => one.path === path).slice(-20).map((one) => one.text).join("\n"));
      questions.update();
    },
  };
}

function render({ model, el: place }) {
  const run = runOf(model);
  const focus = model.get("focus");
  const pane = focus ? stepPane(run, place, focus) : runPane(run, place);
  // Keys typed here are not the notebook's shortcuts.
  pane.node.dataset.lmSuppressShortcuts = "true";
  place.append(pane.node);
  let still = null;
  let asked = "";
  async function settle() {
    const now = run.resting ? `${run.head.status} ${run.number}` : "";
    if (now === asked) return;
    asked = now;
    if (!now) return void (still = null);
    const reply = await ask(model, { op: "still" });
    still = reply.still ?? null;
    if (still && keepStill(model, reply.widget, place, () => still)) ask(model, { op: "kept" });
  }
  let frame = 0;
  const listen = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      pane.update();
      settle();
    });
  };
  run.listeners.add(listen);
  listen();
  const clock = setInterval(() => run.resting || listen(), 1000);
  return () => {
    clearInterval(clock);
    run.listeners.delete(listen);
  };
}

export default { render };
