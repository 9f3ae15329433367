// What the notebook file keeps. A widget in a saved notebook is a hole once its kernel is gone ("model not found"), so when
// the run rests the file gets the still picture instead, while the page keeps the widget. JupyterLab and Notebook 7 ask each
// cell's shared model for its outputs when they save; this cell's answer has the widget taken out. Where that is not so
// (a notebook edited by several people lives on the server, VS Code, Colab) the kernel replaces the output itself.

const WIDGET = "application/vnd.jupyter.widget-view+json";

/** Tells whether the file will hold the still picture of widget `id`. `rest()` gives {html, text} while the run rests. */
function keepStill(model, id, place, rest) {
  const notebook = model.widget_manager?.context?.model;
  if (!notebook?.cells || notebook.collaborative || !place.closest(".jp-Notebook")) return false;
  const shows = (output) => output.data?.[WIDGET]?.model_id === id;
  for (const cell of notebook.cells) {
    const shared = cell.sharedModel;
    if (cell.type !== "code" || !shared?.getOutputs?.().some(shows)) continue;
    if (!shared.wfkernelStill) {
      const all = shared.getOutputs;
      shared.wfkernelStill = new Map();
      shared.getOutputs = function () {
        return all.call(this).map((output) => {
          const still = shared.wfkernelStill.get(output.data?.[WIDGET]?.model_id)?.();
          return still ? { ...output, data: { "text/html": still.html, "text/plain": still.text } } : output;
        });
      };
    }
    shared.wfkernelStill.set(id, rest);
    notebook.dirty = true;
    return true;
  }
  return false;
}
