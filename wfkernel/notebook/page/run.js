// What the page knows of the run: one `Run` per widget model, shared by all its views. It begins with the whole picture
// and takes in what the kernel tells from then on; where a message is missing it asks for the whole again.

const ICONS = {
  pending: "○", running: "●", waiting: "…", suspended: "❚❚", paused: "❚❚",
  success: "✓", restored: "↺", undone: "↶", failed: "✗", tripwire: "⚠", canceled: "⊘", skipped: "↷",
};
const RESTING = ["suspended", "paused", "success", "failed", "tripwire", "canceled"];
const LOG_LIMIT = 10000;

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  if (node.hidden === !!text) node.hidden = !text;
}

function seconds(value) {
  if (value == null) return "";
  if (value < 9.95) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const shownStatus = (step) => (step.status !== "success" ? step.status : step.undone ? "undone" : step.restored ? "restored" : "success");
const statusWords = (step) => (step.attempt > 1 ? `${shownStatus(step)}, attempt ${step.attempt}` : shownStatus(step));
const errorWords = (error) => [error.type, error.message].filter(Boolean).join(": ");
const depthOf = (path) => (path.match(/\.|\[/g) ?? []).length;

/** What stands in a terminal: a carriage return goes back to the line's start, once more text comes. */
const overwritten = (text) => text.replace(/[^\n]*\r(?!\r*(?:$|\n))/g, "");

class Run {
  constructor(model) {
    this.model = model;
    this.listeners = new Set();
    this.takePicture(model.get("picture"));
    model.on("msg:custom", (content) => content?.news && this.take(content.news));
  }

  takePicture(picture) {
    this.number = picture.number;
    this.head = picture.head;
    this.steps = new Map(picture.steps.map((step) => [step.path, step]));
    this.attempts = new Map(picture.attempts.map((a) => [`${a[0]} ${a[2]}`, a]));
    this.chart = picture.chart;
    this.lines = [];
    this.unfinished = new Map();
    this.grown = (this.grown ?? 0) + 1;
    this.rich = new Map();
    this.gone = 0;
    this.partial = false;
    this.logged = picture.at;
    this.received = performance.now();
    this.addLines(picture.at, picture.log);
    this.version = (this.version ?? 0) + 1;
  }

  take(news) {
    if (news.after === undefined) this.takePicture(news);
    else if (news.number > this.number) {
      if (news.after !== this.number) return this.askAll();
      this.number = news.number;
      if (news.head) [this.head, this.received] = [news.head, performance.now()];
      for (const step of news.steps ?? []) this.steps.set(step.path, step);
      for (const a of news.attempts ?? []) this.attempts.set(`${a[0]} ${a[2]}`, a);
      if (news.chart) [this.chart, this.version] = [news.chart, this.version + 1];
      if (news.left_out) {
        this.addLines(news.at + news.left_out, [["", `… ${news.left_out} lines were written too fast to follow: they are shown when the run rests`]]);
        this.logged = news.at + news.left_out;
        this.partial = true;
      }
      this.addLines(this.logged > news.at ? news.at + (news.left_out ?? 0) : news.at, news.log);
    }
    if (this.partial && this.resting) this.askAll();
    for (const listen of this.listeners) listen();
  }

  async askAll() {
    if (this.asking) return;
    this.asking = true;
    const reply = await ask(this.model, { op: "picture" });
    this.asking = false;
    if (reply.picture) this.take({ ...reply.picture, after: undefined });
  }

  /** Log entries, the first of which is the run's `at`-th; those known already are passed over. */
  addLines(at, entries) {
    for (const [path, text, open, data] of entries.slice(Math.max(0, this.logged - at))) {
      // Steps that run side by side write in between: a line goes on where its own step left it.
      const line = this.unfinished.get(path);
      if (line) {
        line.text = overwritten(line.text + text);
        if (line !== this.lines.at(-1)) this.grown += 1;
      } else this.lines.push({ path, text: overwritten(text), data });
      if (open && this.lines.length && (line ?? this.lines.at(-1)).text.length < 4000) this.unfinished.set(path, line ?? this.lines.at(-1));
      else this.unfinished.delete(path);
      if (data) this.rich.set(path, [...(this.rich.get(path) ?? []).slice(-9), data]);
    }
    this.logged = Math.max(this.logged, at + entries.length);
    if (this.lines.length > LOG_LIMIT * 1.1) {
      const extra = this.lines.length - LOG_LIMIT;
      this.lines.splice(0, extra);
      this.gone += extra;
    }
  }

  /** Seconds since the last news of the run's clock. */
  get elapsed() {
    return (performance.now() - this.received) / 1000;
  }

  get now() {
    return this.head.now + (this.resting ? 0 : this.elapsed);
  }

  get resting() {
    return RESTING.includes(this.head.status);
  }

  took(step) {
    if (step.restored && step.status === "success") return step.restored_in;
    return step.duration == null ? null : step.duration + (step.status === "running" ? this.elapsed : 0);
  }

  top() {
    return [...this.steps.values()].filter((step) => !depthOf(step.path));
  }
}

const runs = new WeakMap();
function runOf(model) {
  if (!runs.has(model)) runs.set(model, new Run(model));
  return runs.get(model);
}
