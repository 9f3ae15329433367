/**
 * The run views a notebook was saved with while their run went on.
 *
 * Such an output holds a widget, which a page can show only once the kernel answers on its shell channel, so not before the
 * running cell ends, and never when that kernel is gone. So the still picture beside the widget is shown first; then the
 * kernel is asked on its control channel what became of the view, and the widget, or a new one, takes its place.
 */
import { IOutput } from '@jupyterlab/nbformat';
import { ICodeCellModel } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';

import { openView, tell } from './kernel';

const WIDGET = 'application/vnd.jupyter.widget-view+json';

interface ISaved {
  cell: ICodeCellModel;
  index: number;
  output: IOutput;
  /** What `wfkernel.notebook.live` noted of the view; no `run` for the view of one step. */
  mark: { view: string; run?: string };
}

type Marked = { metadata?: { wfkernel?: ISaved['mark'] }; data?: Record<string, unknown> };

function savedViews(panel: NotebookPanel): ISaved[] {
  const found: ISaved[] = [];
  for (const cell of panel.model?.cells ?? []) {
    const { outputs } = cell as ICodeCellModel;
    for (let index = 0; index < (outputs?.length ?? 0); index++) {
      const output = outputs.get(index).toJSON();
      const { metadata, data } = output as Marked;
      if (metadata?.wfkernel?.view && data?.[WIDGET]) {
        found.push({ cell: cell as ICodeCellModel, index, output, mark: metadata.wfkernel });
      }
    }
  }
  return found;
}

/** Put another bundle in a view's place, unless the cell has put out something else since; the notebook counts as saved. */
function replace(panel: NotebookPanel, saved: ISaved, data: Record<string, unknown>, view = saved.mark.view): void {
  const { outputs } = saved.cell;
  const now = saved.index < outputs.length ? (outputs.get(saved.index).toJSON() as Marked) : {};
  if (panel.isDisposed || now.metadata?.wfkernel?.view !== saved.mark.view) {
    return;
  }
  const { dirty } = panel.model!;
  outputs.set(saved.index, {
    ...saved.output,
    data,
    metadata: { ...(saved.output.metadata as object), wfkernel: { ...saved.mark, view } }
  } as IOutput);
  panel.model!.dirty = dirty;
}

/** See to it that every run view of a notebook that was opened shows something true. */
export async function revive(panel: NotebookPanel): Promise<void> {
  await panel.context.ready;
  const views = savedViews(panel);
  for (const saved of views) {
    const { [WIDGET]: _, ...still } = (saved.output as Marked).data!;
    replace(panel, saved, still);
  }
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session?.kernel;
  const status = views.length && kernel ? await tell(kernel, { op: 'status' }) : null;
  for (const saved of status && kernel ? views : []) {
    const known = status!.views?.includes(saved.mark.view);
    if (known && !(status!.busy && saved.mark.run)) {
      replace(panel, saved, (saved.output as Marked).data!);
    } else if (saved.mark.run) {
      const opened = await openView(kernel!, saved.mark.run);
      if ('shown' in opened) {
        replace(panel, saved, opened.shown.data, opened.view);
      }
    }
  }
}
