// What a step wrote that is more than text. JupyterLab and Notebook 7 draw it with their own renderers (Markdown, LaTeX,
// tables, plots), always cleaned of scripts: the run may be from a store that somebody sent. Elsewhere there are pictures
// and text.

function richOutput(model, data) {
  const node = el("div", { class: "wf-rich jp-OutputArea-output" });
  const rendermime = model.widget_manager?.rendermime;
  const kind = rendermime?.preferredMimeType(data, "ensure");
  if (kind) {
    const shown = { data, metadata: {}, trusted: false, setData() {} };
    const renderer = rendermime.createRenderer(kind);
    renderer.renderModel(shown).then(() => node.append(renderer.node));
    return node;
  }
  const image = ["image/png", "image/jpeg"].find((mime) => data[mime]);
  if (image) node.append(el("img", { src: `data:${image};base64,${data[image]}`, alt: data["text/plain"] ?? "picture" }));
  else node.append(el("pre", {}, data["text/markdown"] ?? data["text/plain"] ?? Object.keys(data).join(", ")));
  return node;
}
