/**
 * What the button and the panel show: the run of the notebook in front, and the runs in its store.
 *
 * Kernels are asked only where a notebook uses wfkernel, and only when something may have changed: a cell begins or ends,
 * somebody acted, and once a second (every three for the list alone) while a cell runs or something executes. (Not when the kernel's status
 * changes: asking changes it.)
 */
import { ICodeCellModel } from '@jupyterlab/cells';
import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { ICurrentRun, IReply, IRun, openView, problemOf, tell } from './kernel';
import { revive } from './revive';

const USES_WFKERNEL = /^\s*(%load_ext\s+wfkernel|%%step\b|%%workflow\b)/m;
/** Milliseconds between two looks at an active run. */
const PERIOD = 1000;

/** Whether some process executes the run. */
export const goesOn = (run: IRun): boolean => !run.interrupted && ['running', 'waiting', 'paused'].includes(run.status);

export class RunsModel {
  constructor(private _tracker: INotebookTracker) {
    _tracker.widgetAdded.connect((_, panel) => this._follow(panel));
    _tracker.forEach(panel => this._follow(panel));
    _tracker.currentChanged.connect(() => this.refresh());
    NotebookActions.executionScheduled.connect(() => this._soon());
    NotebookActions.executed.connect(() => this._soon());
  }

  /** Emitted when anything below changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The runs in the store, newest first; null until a kernel has told them. */
  get runs(): IRun[] | null {
    return this._runs;
  }

  /** The run the kernel of the notebook in front writes. */
  get current(): ICurrentRun | null {
    return this._current;
  }

  /** What a command was refused with. */
  get problem(): string {
    return this._problem;
  }

  /** Whether the list is as the store has it now: there is a kernel to ask. */
  get live(): boolean {
    return this._kernel() !== null;
  }

  /** Whether there is something to suspend. */
  get active(): boolean {
    return !!this._current?.busy && (this._current.status === 'running' || this._current.running.length > 0);
  }

  /** Ask the kernel where things stand. */
  refresh(list = this.listed): void {
    window.clearTimeout(this._timer);
    void this._ask(list);
  }

  /** Whether somebody looks at the list. */
  listed = false;

  /** Suspend or cancel a run, by default the current one. One that another process executes is told through the kernel. */
  async stop(op: 'suspend' | 'cancel', by: string, run?: string): Promise<void> {
    const kernel = this._kernel();
    if (kernel) {
      this._tell(await tell(kernel, run ? { op, by, run } : { op, by }));
      this.refresh();
    }
  }

  /**
   * Go on with the current run: show the question of a step that waits for an answer, or run the notebook on from the step
   * that was stopped.
   */
  async resume(by: string): Promise<void> {
    const panel = this._panel();
    const kernel = this._kernel();
    if (!panel || !kernel || !this._current) {
      return;
    }
    const [waiting] = this._current.waiting;
    if (waiting) {
      await this.show(waiting.cell_id);
      const form = this._cellNode(panel, waiting.cell_id)?.querySelector<HTMLElement>(
        '.wf-question input, .wf-question select, .wf-question textarea, .wf-question button'
      );
      if (form) {
        form.focus();
      } else {
        this._say(`Run the cell of step '${waiting.step}': it shows the form.`);
      }
      return;
    }
    const reply = await tell(kernel, { op: 'resume', by });
    this._tell(reply);
    if (reply?.ok && (await this.show(reply.cell_id ?? ''))) {
      void NotebookActions.runAllBelow(panel.content, panel.sessionContext);
    }
    this.refresh();
  }

  /** A live view of a run, as a widget of its own; null where it cannot be had, which the panel then says. */
  async view(run: string): Promise<Widget | null> {
    const panel = this._panel();
    const kernel = this._kernel();
    if (!panel || !kernel) {
      return null;
    }
    const opened = await openView(kernel, run);
    this._say('problem' in opened ? opened.problem : '');
    if ('problem' in opened) {
      return null;
    }
    const { rendermime } = panel.content;
    const model = rendermime.createModel({ ...opened.shown, trusted: true });
    const type = rendermime.preferredMimeType(model.data, 'any');
    if (!type) {
      return null;
    }
    const renderer = rendermime.createRenderer(type);
    await renderer.renderModel(model);
    renderer.disposed.connect(() => {
      if (!kernel.isDisposed) {
        void tell(kernel, { op: 'close', view: opened.view });
      }
    });
    return renderer;
  }

  /** Bring the notebook in front and a cell of it into view; tells whether there is such a cell. */
  async show(cellId: string): Promise<boolean> {
    const panel = this._panel();
    const index = panel ? [...panel.content.widgets].findIndex(cell => cell.model.id === cellId) : -1;
    if (!panel || index < 0) {
      return false;
    }
    panel.content.activeCellIndex = index;
    await panel.content.scrollToItem(index, 'center');
    return true;
  }

  /** The path, as the server knows it, of a notebook the kernel named by its absolute one; '' where it is outside. */
  pathOf(notebook: string | null): string {
    const here = this._current?.notebook ?? '';
    const path = this._panel()?.context.path ?? '';
    const root = here.endsWith('/' + path) ? here.slice(0, -path.length) : '';
    return root && notebook?.startsWith(root) ? notebook.slice(root.length) : '';
  }

  private _cellNode(panel: NotebookPanel, cellId: string): HTMLElement | undefined {
    return [...panel.content.widgets].find(cell => cell.model.id === cellId)?.node;
  }

  /** The notebook in front, or else any that has a kernel to ask. */
  private _panel(): NotebookPanel | null {
    const front = this._tracker.currentWidget;
    if (front && this._uses(front)) {
      return front;
    }
    return this._tracker.find(panel => this._uses(panel) && !!panel.sessionContext.session?.kernel) ?? null;
  }

  private _kernel(): Kernel.IKernelConnection | null {
    const kernel = this._panel()?.sessionContext.session?.kernel;
    return kernel && kernel.connectionStatus === 'connected' ? kernel : null;
  }

  private _uses(panel: NotebookPanel): boolean {
    const cells = panel.model?.cells;
    const spec = panel.sessionContext.session?.kernel?.name;
    return spec === 'wfkernel' || (!!cells && [...cells].some(cell => USES_WFKERNEL.test(cell.sharedModel.source)));
  }

  private _follow(panel: NotebookPanel): void {
    void revive(panel);
    panel.sessionContext.statusChanged.connect((_, status) => {
      if (status.includes('restarting')) {
        this._forget();
      }
    });
    panel.sessionContext.kernelChanged.connect(() => this._forget());
  }

  private _forget(): void {
    this._current = null;
    this._soon();
    this._changed.emit();
  }

  private _soon(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => this.refresh(), 150);
  }

  private async _ask(list: boolean): Promise<void> {
    const kernel = this._kernel();
    const count = ++this._asked;
    // A kernel that has not answered has not loaded wfkernel yet; it is asked again when a cell has run.
    const reply = kernel ? await tell(kernel, { op: list ? 'runs' : 'status' }) : null;
    if (count !== this._asked) {
      return; // a later look is under way
    }
    if (reply?.ok) {
      this._current = (list ? reply.current : reply.run) ?? null;
      this._runs = reply.runs ?? this._runs;
    } else {
      this._current = null;
    }
    this._changed.emit();
    const others = this.listed && !!this._runs?.some(goesOn);
    // A cell that runs may begin a run later than the look that its start brought about.
    const soon = !!this._current?.busy || this._executes();
    if (reply?.ok && (soon || others)) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => this.refresh(), soon ? PERIOD : 3 * PERIOD);
    }
  }

  /** Whether a cell of the notebook is running or waits for its turn. */
  private _executes(): boolean {
    const cells = this._panel()?.model?.cells;
    return !!cells && [...cells].some(cell => (cell as ICodeCellModel).executionState === 'running');
  }

  private _tell(reply: IReply | null): void {
    this._say(problemOf(reply));
  }

  private _say(text: string): void {
    this._problem = text;
    this._changed.emit();
  }

  private _changed = new Signal<this, void>(this);
  private _runs: IRun[] | null = null;
  private _current: ICurrentRun | null = null;
  private _problem = '';
  private _timer = 0;
  private _asked = 0;
}
