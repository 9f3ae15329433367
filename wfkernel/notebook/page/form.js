// A form for the JSON schema of a pydantic model, made of native controls.
//
// `buildForm(schema)` gives {node, read, show, focusProblem}. `read()` returns {data, problems}: the answer as JSON,
// and what could not even be written down as JSON. Everything else is judged by pydantic in the kernel;
// `show(problems)` puts its [path, message] pairs beside the fields.
//
// A field is {node, read(problems, path), find(path), complain(text), rename(label)}. Containers hold fields and pass
// the calls on. `read` returns OMIT for a field left empty, so that pydantic applies a default or says "required".
// `find` takes the path as a list and returns the field it leads to and what of the path is left there.

const OMIT = Symbol("omit");
// An id no other element of the page has. (Each widget evaluates this module anew: a counter would begin again.)
const unique = (name) => `${name}-${Math.random().toString(36).slice(2)}`;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const star = (required) =>
  required ? el("span", { class: "wf-required", "aria-hidden": "true", title: "required" }, " *") : "";
const joined = (...parts) => parts.filter(Boolean).join(" · ");
const sentence = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

/** The schema with references followed and Optional[X] turned into X with `nullable`. */
function resolve(schema, root) {
  let s = schema === true ? {} : schema;
  while (s.$ref || s.allOf?.length === 1) {
    const { $ref, allOf, ...own } = s;
    const target = $ref ? $ref.replace(/^#\//, "").split("/").reduce((at, key) => at?.[key], root) : allOf[0];
    s = { ...target, ...own };
  }
  if (!s.anyOf) return s;
  const { anyOf, ...own } = s;
  const options = anyOf.map((o) => resolve(o, root));
  const some = options.filter((o) => o.type !== "null");
  if (some.length < options.length) own.nullable = true;
  if (some.length === 1) return { ...some[0], ...own };
  const values = some.map((o) => o.enum ?? ("const" in o ? [o.const] : undefined));
  if (values.every(Boolean)) return { ...own, enum: values.flat() };
  if (!some.every((o) => /^(string|integer|number)$/.test(o.type))) return own;
  // int | float is a number; Decimal (number or string) travels as text with all its digits; int | str as either.
  const numbers = some.filter((o) => o.type !== "string");
  if (numbers.length === some.length) return { ...own, type: "number" };
  return { ...numbers[0], ...own, type: "string", numeric: numbers.every((o) => o.type === "integer") };
}

function boundsOf(s) {
  const low = s.minimum ?? s.exclusiveMinimum;
  const high = s.maximum ?? s.exclusiveMaximum;
  const parts = [];
  if (s.minimum !== undefined && s.maximum !== undefined) parts.push(`${low} to ${high}`);
  else {
    if (low !== undefined) parts.push((s.minimum !== undefined ? "at least " : "more than ") + low);
    if (high !== undefined) parts.push((s.maximum !== undefined ? "at most " : "less than ") + high);
  }
  if (s.multipleOf !== undefined) parts.push(`in steps of ${s.multipleOf}`);
  const least = s.minLength ?? s.minItems;
  const most = s.maxLength ?? s.maxItems;
  const unit = s.type === "array" ? "entries" : "characters";
  if (least) parts.push(`${least}${most === undefined ? " or more" : ` to ${most}`} ${unit}`);
  else if (most !== undefined) parts.push(`at most ${most} ${unit}`);
  return parts.join(", ");
}

/** What a field left empty means; null after a default was deleted, so that pydantic says what is wrong. */
const emptied = (s) => (s.nullable || "default" in s ? null : OMIT);

function makeField(schema, ctx) {
  const s = resolve(schema, ctx.root);
  const value = ctx.value === undefined ? s.default : ctx.value;
  const spec = { ...ctx, s, value };
  if ("const" in s && !s.nullable) return constant(spec);
  if ("const" in s) return choice(spec, [[s.const, String(s.const)]]);
  if (s.enum) return choice(spec, s.enum.map((v) => [v, v === null ? "none" : String(v)]));
  if (s.type === "boolean" && s.nullable) return choice(spec, [[true, "yes"], [false, "no"]]);
  if (s.type === "boolean") return checkbox(spec);
  if (s.type === "integer" || s.type === "number") return number(spec);
  if (s.type === "string") return s.format === "date-time" ? datetime(spec) : text(spec);
  // A model left out: null, or what a default factory in the kernel makes, which the schema does not tell.
  const made = !ctx.required && value === undefined && s.required?.length;
  if (s.type === "object" && s.properties) return s.nullable || made ? optional(spec) : group(spec);
  if (s.type === "array" && s.items && !s.prefixItems) return list(spec);
  return json(spec);
}

/** Label, control, hint and error, tied together by ids. */
function leaf({ s, label, required, row }, input, read, ...beside) {
  const id = unique("wf-field");
  const name = el("span", {}, label);
  const hint = el("p", { class: "wf-hint", id: `${id}-hint` }, joined(s.description, boundsOf(s)));
  const error = el("p", { class: "wf-problem", id: `${id}-error`, role: "alert" });
  const title = el("label", { for: id }, name, star(required && !row));
  input.id = id;
  input.setAttribute("aria-describedby", `${hint.id} ${error.id}`);
  if (required) input.setAttribute("aria-required", "true");
  const complain = (message) => {
    error.textContent = message;
    message ? input.setAttribute("aria-invalid", "true") : input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => complain(""));
  const line = beside.length ? el("div", { class: "wf-beside" }, input, ...beside) : input;
  const node = el("div", { class: `wf-field wf-is-${input.type}` }, title, line, hint, error);
  const field = { node, read, complain, rename: (text) => (name.textContent = text) };
  field.find = (path) => [field, path];
  return field;
}

const isInteger = (text) => /^\s*[+-]?\d+\s*$/.test(text) && Number.isSafeInteger(Number(text));

function text(spec) {
  const { s, value } = spec;
  const types = { password: "password", date: "date", time: "time", email: "email", uri: "url" };
  const type = s.writeOnly ? "password" : types[s.format] ?? "text";
  const long = /^(multi-?line|textarea)$/.test(s.format ?? "") || String(value ?? "").includes("\n");
  const autocomplete = type === "password" ? "new-password" : "off";
  const step = type === "time" && "any";
  const input = long ? el("textarea", { rows: 3 }) : el("input", { type, step, autocomplete });
  if (s.format === "duration") input.placeholder = "PT1H30M";
  // The default of a secret is a row of stars: leaving the field empty keeps what the stars stand for.
  input.value = s.writeOnly ? "" : value ?? "";
  return leaf(spec, input, (problems, path) => {
    if (input.validity.badInput) problems.push([path, `this ${type} is not complete`]);
    const given = input.value;
    if (given !== "") return s.numeric && isInteger(given) ? Number(given) : given;
    if (s.writeOnly && "default" in s) return OMIT;
    // Where a default was deleted an empty string is meant, if it is a string that is asked for and no date or address.
    return !s.nullable && "default" in s && (long || !s.format) ? "" : emptied(s);
  });
}

// A text box rather than <input type=number>: it neither changes under the mouse wheel nor hides what it cannot read,
// and pydantic says what is wrong with it. Digits beyond what a double holds travel as text.
function number(spec) {
  const { s, value } = spec;
  const inputmode = s.type === "integer" ? "numeric" : "decimal";
  const input = el("input", { type: "text", class: "wf-number", inputmode, autocomplete: "off" });
  input.value = value ?? "";
  return leaf(spec, input, () => {
    const given = input.value.trim();
    if (given === "") return emptied(s);
    const readable = s.type === "integer" || /^[+-]?\d+$/.test(given) ? isInteger(given) : isFinite(given);
    return readable ? Number(given) : given;
  });
}

function checkbox(spec) {
  const input = el("input", { type: "checkbox" });
  input.checked = !!spec.value;
  return leaf({ ...spec, required: false }, input, () => input.checked);
}

function choice(spec, options) {
  const { s, value, required } = spec;
  const input = el("select");
  const at = options.findIndex(([v]) => v === value);
  // Nothing is chosen for the person: without a default the first entry is no answer.
  if (s.nullable || at < 0) input.append(el("option", { value: "" }, s.nullable || !required ? "none" : "choose …"));
  options.forEach(([, shown], i) => input.append(el("option", { value: i }, shown)));
  input.value = at < 0 ? "" : at;
  return leaf(spec, input, () => (input.value === "" ? emptied(s) : options[input.value][0]));
}

function constant(spec) {
  const output = el("output", {}, String(spec.s.const));
  return leaf({ ...spec, required: false }, output, () => spec.s.const);
}

const offset = (date) => {
  const minutes = -date.getTimezoneOffset();
  const two = (n) => String(Math.floor(Math.abs(n))).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
};

/** Date and time, with the zone chosen by the person: a model may want it or refuse it. */
function datetime(spec) {
  const { s, value } = spec;
  const [, moment = "", given = ""] = /^(.*?)(Z|[+-]\d\d:\d\d)?$/.exec(value ?? "");
  const input = el("input", { type: "datetime-local", step: "any" });
  const zone = el("select", { "aria-label": `Time zone of ${spec.label}` });
  zone.append(el("option", { value: "" }, "no zone"), el("option", { value: "local" }, "local time"));
  zone.append(el("option", { value: "Z" }, "UTC"));
  if (given && given !== "Z") zone.append(el("option", { value: given }, given));
  input.value = moment.replace(" ", "T").replace(/(\.\d{3})\d+$/, "$1");
  zone.value = given;
  const read = (problems, path) => {
    if (input.validity.badInput) problems.push([path, "this date and time is not complete"]);
    if (input.value === "") return emptied(s);
    return input.value + (zone.value === "local" ? offset(new Date(input.value)) : zone.value);
  };
  return leaf(spec, input, read, zone);
}

function json(spec) {
  const { s, value } = spec;
  const input = el("textarea", { rows: 2, class: "wf-json", spellcheck: "false" });
  input.value = value === undefined || value === null ? "" : JSON.stringify(value, null, 1);
  const described = { ...s, description: joined(s.description, "JSON") };
  const field = leaf({ ...spec, s: described }, input, (problems, path) => {
    if (input.value.trim() === "") return emptied(s);
    try {
      return JSON.parse(input.value);
    } catch (error) {
      problems.push([path, `not valid JSON: ${error.message}`]);
      return OMIT;
    }
  });
  input.addEventListener("change", () => {
    const problems = [];
    field.read(problems, "");
    field.complain(problems.map(([, message]) => message).join());
  });
  return field;
}

/** A frame with a title around other fields; the common part of the containers. */
function frame({ s, label, required, row }, className) {
  const name = el("span", {}, label);
  const id = unique("wf-field");
  const legend = el("legend", {}, name, star(required && !row));
  const hint = el("p", { class: "wf-hint", id }, joined(s.description, s.type === "array" && boundsOf(s)));
  const error = el("p", { class: "wf-problem", role: "alert", tabindex: -1 });
  const body = el("div", { class: "wf-body" });
  const node = el("fieldset", { class: className, "aria-describedby": id }, legend, hint, error, body);
  const complain = (message) => {
    error.textContent = message;
    error.toggleAttribute("data-invalid", !!message);
  };
  return { node, body, complain, rename: (text) => (name.textContent = text) };
}

function group(spec) {
  const { s, root, value } = spec;
  const field = frame(spec, "wf-group");
  const fields = {};
  for (const [name, schema] of Object.entries(s.properties)) {
    const required = s.required?.includes(name) ?? false;
    const label = schema.title ?? sentence(name);
    fields[name] = makeField(schema, { root, required, label, value: value?.[name] });
    field.body.append(fields[name].node);
  }
  field.read = (problems, path) => {
    const data = {};
    for (const [name, child] of Object.entries(fields)) {
      const got = child.read(problems, path ? `${path}.${name}` : name);
      if (got !== OMIT) data[name] = got;
    }
    return data;
  };
  field.find = (path) => (Object.hasOwn(fields, path[0] ?? "") ? fields[path[0]].find(path.slice(1)) : [field, path]);
  return field;
}

/** A model that may be left out: nothing until it is added. Built on demand, since a model may hold itself. */
function optional(spec) {
  const field = frame({ ...spec, s: {} }, "wf-optional");
  let inner = null;
  const button = el("button", { type: "button", class: "wf-small", onclick: () => set(!inner, true) });
  const set = (on, byPerson) => {
    inner?.node.remove();
    inner = on ? group({ ...spec, required: false, value: spec.value ?? undefined }) : null;
    if (inner) field.body.append(inner.node);
    field.complain("");
    button.textContent = on ? "Remove" : "Add";
    button.setAttribute("aria-label", `${button.textContent} ${spec.label}`);
    if (byPerson) (firstControl(inner?.node) ?? button).focus();
  };
  field.node.append(button);
  set(spec.value !== undefined && spec.value !== null, false);
  field.read = (problems, path) => (inner ? inner.read(problems, path) : spec.s.nullable ? null : OMIT);
  field.find = (path) => (inner && path.length ? inner.find(path) : [field, path]);
  return field;
}

function list(spec) {
  const { s, root, value, label, required } = spec;
  const field = frame(spec, "wf-list");
  const rows = [];
  const item = resolve(s.items, root);
  const add = (initial, byPerson) => {
    const row = makeField(s.items, { root, label: "", required: true, row: true, value: initial });
    const remove = el("button", { type: "button", class: "wf-small", onclick: () => drop(row) }, "Remove");
    row.shell = el("div", { class: item.properties ? "wf-row wf-tall" : "wf-row" }, row.node, remove);
    row.button = remove;
    rows.push(row);
    field.body.append(row.shell);
    count();
    if (byPerson) firstControl(row.node)?.focus();
  };
  const drop = (row) => {
    rows.splice(rows.indexOf(row), 1);
    row.shell.remove();
    count();
    more.focus();
  };
  const count = () => {
    rows.forEach((row, i) => {
      row.rename(`${label} ${i + 1}`);
      row.button.setAttribute("aria-label", `Remove ${label} ${i + 1}`);
    });
    field.complain("");
  };
  const more = el("button", { type: "button", class: "wf-small", onclick: () => add(undefined, true) }, "Add");
  more.setAttribute("aria-label", `Add to ${label}`);
  field.node.append(more);
  const initial = Array.isArray(value) ? value : Array(s.minItems ?? 0).fill(undefined);
  for (const each of initial) add(each, false);
  field.read = (problems, path) => {
    if (!rows.length && value === undefined && !required) return OMIT;
    if (!rows.length && s.nullable && !Array.isArray(s.default)) return null;
    const values = rows.map((row, i) => row.read(problems, path ? `${path}.${i}` : `${i}`));
    return values.map((got) => (got === OMIT ? (item.type === "string" && !item.format ? "" : null) : got));
  };
  field.find = (path) => (rows[path[0]] ? rows[path[0]].find(path.slice(1)) : [field, path]);
  return field;
}

const firstControl = (node) => node?.querySelector("input, select, textarea, button");

function buildForm(schema) {
  const bare = !Object.keys(schema).length;
  const label = bare ? "Answer" : schema.title ?? "Answer";
  // Without a model any JSON will do, and nothing is an answer too.
  const asked = bare ? { nullable: true, description: "any JSON; may stay empty" } : schema;
  const field = makeField(asked, { root: schema, label, required: !bare });
  field.node.classList.add("wf-root");
  let refused = new Map();
  return {
    node: field.node,
    read() {
      const problems = [];
      const data = field.read(problems, "");
      return { data: data === OMIT ? null : data, problems };
    },
    show(problems) {
      for (const at of refused.keys()) at.complain("");
      refused = new Map();
      for (const [path, message] of problems) {
        const [at, rest] = field.find(path === "" ? [] : path.split("."));
        const words = rest.length ? `${rest.join(".")}: ${message}` : message;
        refused.set(at, refused.has(at) ? `${refused.get(at)}; ${words}` : words);
      }
      for (const [at, words] of refused) at.complain(words);
    },
    focusProblem() {
      field.node.querySelector("[aria-invalid=true], [data-invalid]")?.focus();
    },
  };
}
