/** wfkernel in JupyterLab and Notebook 7: a Suspend button in every notebook's toolbar, and the list of runs. */
import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { runsIcon, suspendIcon } from './icons';
import { IRun } from './kernel';
import { RunsModel } from './model';
import { RunsPanel } from './panel';

namespace CommandIDs {
  /** Suspend the run of the notebook in front, although a cell is running. */
  export const suspend = 'wfkernel:suspend';
  /** Go on with the suspended run of the notebook in front. */
  export const resume = 'wfkernel:resume';
  /** Cancel the run of the notebook in front. */
  export const cancel = 'wfkernel:cancel';
  /** Show the list of runs. */
  export const showRuns = 'wfkernel:show-runs';
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'wfkernel:plugin',
  description: 'A Suspend button in every notebook toolbar, and the list of workflow runs.',
  autoStart: true,
  requires: [INotebookTracker],
  // Notebook 7 has no layout to restore and is no lab; nothing else here is vital either.
  optional: [ITranslator, ICommandPalette, ILayoutRestorer, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    lab: ILabShell | null
  ) => {
    const { commands } = app;
    const trans = (translator ?? nullTranslator).load('wfkernel');
    const model = new RunsModel(tracker);
    const open = (path: string) => void commands.execute('docmanager:open', { path });
    const tabs = new Map<string, Widget>();
    const show = async (run: IRun) => {
      const known = tabs.get(run.run_id);
      if (known) {
        return app.shell.activateById(known.id);
      }
      const content = await model.view(run.run_id);
      if (!content) {
        return;
      }
      content.addClass('wf-Runs-view');
      const tab = new MainAreaWidget({ content });
      tab.id = `wfkernel-run-${run.run_id}`;
      tab.title.label = run.workflow;
      tab.title.caption = run.run_id;
      tab.title.icon = runsIcon;
      tab.title.closable = true;
      tab.disposed.connect(() => tabs.delete(run.run_id));
      tabs.set(run.run_id, tab);
      // The main area of Notebook 7 is its one notebook.
      app.shell.add(tab, lab ? 'main' : 'down', { mode: 'tab-after' });
      app.shell.activateById(tab.id);
    };
    const panel = new RunsPanel({ model, trans, show, open });
    app.shell.add(panel, 'left', { rank: 600, type: 'Workflow runs' });
    restorer?.add(panel, panel.id);

    const suspended = () => model.current?.status === 'suspended';
    commands.addCommand(CommandIDs.suspend, {
      label: trans.__('Suspend Workflow Run'),
      caption: trans.__('Suspend the workflow run: the step that executes stops now and runs again when you resume'),
      icon: suspendIcon,
      isEnabled: () => model.active,
      execute: () => model.stop('suspend', 'toolbar')
    });
    commands.addCommand(CommandIDs.resume, {
      label: trans.__('Resume Workflow Run'),
      isEnabled: suspended,
      execute: () => model.resume('menu')
    });
    commands.addCommand(CommandIDs.cancel, {
      label: trans.__('Cancel Workflow Run'),
      isEnabled: () => model.active || suspended(),
      execute: () => model.stop('cancel', 'menu')
    });
    commands.addCommand(CommandIDs.showRuns, {
      label: trans.__('Workflow Runs'),
      icon: runsIcon,
      execute: () => app.shell.activateById(panel.id)
    });
    // A toolbar button asks isEnabled() only when it is told to.
    model.changed.connect(() => {
      for (const id of [CommandIDs.suspend, CommandIDs.resume, CommandIDs.cancel]) {
        commands.notifyCommandChanged(id);
      }
    });
    for (const command of Object.values(CommandIDs)) {
      palette?.addItem({ command, category: trans.__('Workflow') });
    }
  }
};

export default plugin;
