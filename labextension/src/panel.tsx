/** The left panel: the newest runs, each with its status, and what can be done about the notebook's own. */
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import { runsIcon } from './icons';
import { ICurrentRun, IRun } from './kernel';
import { RunsModel, goesOn } from './model';

interface IProps {
  model: RunsModel;
  trans: TranslationBundle;
  /** Show a run in a tab of its own. */
  show: (run: IRun) => Promise<void>;
  /** Open a notebook. */
  open: (path: string) => void;
}

const statusOf = (run: IRun, current: ICurrentRun | null) =>
  run.run_id === current?.run_id ? current.status : run.interrupted ? 'interrupted' : run.status;

function Run({ run, model, trans, show, open }: IProps & { run: IRun }): JSX.Element {
  const current = model.current?.run_id === run.run_id ? model.current : null;
  const status = statusOf(run, model.current);
  const path = model.pathOf(run.notebook);
  const waits = current?.waiting[0];
  const started = run.started_at ? new Date(run.started_at).toLocaleString() : '';
  const openNotebook = () => {
    const [step] = [...(current?.waiting ?? []), ...(current?.running ?? []), ...(current?.stopped ?? [])];
    open(path);
    if (step) {
      void model.show(step.cell_id);
    }
  };
  return (
    <li className="wf-Runs-run" data-status={status} aria-current={current ? 'true' : undefined}>
      <button
        className="wf-Runs-name"
        onClick={() => void show(run)}
        disabled={!model.live}
        title={trans.__('Open the run %1', run.run_id)}
      >
        {run.workflow}
      </button>
      <span className="wf-Runs-chip" data-status={status}>
        {status}
      </span>
      <div className="wf-Runs-detail">
        {current ? trans.__('%1 of %2 steps · ', current.done, current.steps) : ''}
        {started} · {run.run_id}
        {path ? (
          <>
            {' · '}
            <button className="wf-Runs-notebook" onClick={openNotebook} title={run.notebook ?? undefined}>
              {trans.__('notebook')}
            </button>
          </>
        ) : null}
      </div>
      {waits ? (
        <div className="wf-Runs-detail">
          {trans.__('%1 asks: %2', waits.step, waits.message || trans.__('an answer'))}
        </div>
      ) : null}
      {run.error && status === 'failed' ? <div className="wf-Runs-detail">{run.error}</div> : null}
      {!current && goesOn(run) ? (
        <div className="wf-Runs-actions">
          {status === 'running' ? (
            <button onClick={() => void model.stop('suspend', 'panel', run.run_id)}>{trans.__('Suspend')}</button>
          ) : null}
          <button onClick={() => void model.stop('cancel', 'panel', run.run_id)}>{trans.__('Cancel')}</button>
        </div>
      ) : null}
      {current && (status === 'running' || status === 'suspended') ? (
        <div className="wf-Runs-actions">
          {status === 'running' && model.active ? (
            <button onClick={() => void model.stop('suspend', 'panel')}>{trans.__('Suspend')}</button>
          ) : null}
          {status === 'suspended' ? (
            <button onClick={() => void model.resume('panel')}>{waits ? trans.__('Answer…') : trans.__('Resume')}</button>
          ) : null}
          {status === 'suspended' || model.active ? (
            <button onClick={() => void model.stop('cancel', 'panel')}>{trans.__('Cancel')}</button>
          ) : null}
        </div>
      ) : null}
    </li>
  );
}

function Runs(props: IProps): JSX.Element {
  const { model, trans } = props;
  const runs = model.runs ?? [];
  return (
    <section className="wf-Runs" aria-label={trans.__('Workflow runs')}>
      <header>
        <h2>{trans.__('Workflow runs')}</h2>
        <button onClick={() => model.refresh()} disabled={!model.live} title={trans.__('Ask the kernel again')}>
          {trans.__('Refresh')}
        </button>
      </header>
      {model.problem ? (
        <p className="wf-Runs-problem" role="alert">
          {model.problem}
        </p>
      ) : null}
      {!model.live ? (
        <p className="wf-Runs-note">
          {trans.__('The list comes from a kernel: open a notebook that uses wfkernel. In a terminal, wf ls lists the runs.')}
        </p>
      ) : runs.length === 0 ? (
        <p className="wf-Runs-note">{trans.__('No runs yet.')}</p>
      ) : null}
      <ul aria-live="polite" data-live={model.live}>
        {runs.map(run => (
          <Run key={run.run_id} run={run} {...props} />
        ))}
      </ul>
    </section>
  );
}

export class RunsPanel extends ReactWidget {
  constructor(private _props: IProps) {
    super();
    this.id = 'wfkernel-runs';
    this.title.icon = runsIcon;
    this.title.caption = _props.trans.__('Workflow runs');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', _props.trans.__('Workflow runs'));
  }

  protected onAfterShow(): void {
    this._props.model.listed = true;
    this._props.model.refresh();
  }

  protected onAfterHide(): void {
    this._props.model.listed = false;
  }

  render(): JSX.Element {
    return <UseSignal signal={this._props.model.changed}>{() => <Runs {...this._props} />}</UseSignal>;
  }
}
