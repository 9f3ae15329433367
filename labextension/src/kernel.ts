/**
 * Commands to a kernel, on its control channel: answered while a cell is running.
 *
 * The kernel's side is `wfkernel.notebook.control`; `wfkernel.notebook.commands` lists the commands.
 */
import type { IDisplayData } from '@jupyterlab/nbformat';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { UUID } from '@lumino/coreutils';

/** How long a kernel that listens may take to answer, in milliseconds. */
const PATIENCE = 5000;

/** The run a kernel writes. */
export interface ICurrentRun {
  run_id: string;
  workflow: string;
  notebook: string;
  status: string;
  /** Whether something executes that can be stopped. */
  busy: boolean;
  steps: number;
  done: number;
  running: { step: string; cell_id: string }[];
  /** Steps that wait for an answer. */
  waiting: { step: string; message: string; cell_id: string }[];
  /** Steps a person stopped. */
  stopped: { step: string; cell_id: string }[];
}

/** A run in the store. */
export interface IRun {
  run_id: string;
  workflow: string;
  /** Its absolute path; null for a run of a workflow made in Python or in a file. */
  notebook: string | null;
  mode: string;
  status: string;
  started_at: string | null;
  seconds: number | null;
  error: string | null;
  interrupted: boolean;
}

export interface IReply {
  ok: boolean;
  problems?: [string, string][];
  run?: ICurrentRun | null;
  runs?: IRun[];
  current?: ICurrentRun | null;
  cell_id?: string;
  view?: string;
  /** Whether a cell is running. */
  busy?: boolean;
  /** The views the kernel feeds. */
  views?: string[];
}

interface ICommand {
  op: string;
  by?: string;
  run?: string;
  view?: string;
}

type Bundle = Pick<IDisplayData, 'data' | 'metadata'>;

/** Send a command; resolves to null where the kernel does not answer, as one without wfkernel never does. */
export async function tell(kernel: Kernel.IKernelConnection, command: ICommand): Promise<IReply | null> {
  const future = send(kernel, command, true);
  const reply = await Promise.race([replyOf(future), late(null)]);
  if (reply === null) {
    future.dispose();
  }
  return reply;
}

/** Ask for a live view of a run. Resolves to what to show and to the view's name, or to why there is none. */
export async function openView(
  kernel: Kernel.IKernelConnection,
  run: string
): Promise<{ shown: Bundle; view: string } | { problem: string }> {
  const future = send(kernel, { op: 'open', run }, false);
  // The view comes on another channel than the reply, after the widget in it: whichever of the two is first.
  const shown = new Promise<Bundle>(resolve => {
    future.onIOPub = ({ header, content }) => {
      if (header.msg_type === 'display_data') {
        resolve(content as Bundle);
      }
    };
  });
  try {
    const reply = await Promise.race([replyOf(future), late(null)]);
    if (!reply?.ok) {
      return { problem: problemOf(reply) };
    }
    const bundle = await Promise.race([shown, late(null)]);
    return bundle ? { shown: bundle, view: reply.view ?? '' } : { problem: problemOf(null) };
  } finally {
    future.dispose();
  }
}

/** What a command was refused with, in words; '' for one that was done. */
export function problemOf(reply: IReply | null): string {
  const problems = reply?.ok ? [] : (reply?.problems ?? [['', 'The kernel does not answer.']]);
  return problems.map(([, text]) => text).join(' ');
}

function send(kernel: Kernel.IKernelConnection, command: ICommand, disposeOnDone: boolean) {
  const message = {
    channel: 'control',
    content: { id: UUID.uuid4(), ...command },
    metadata: {},
    buffers: [],
    parent_header: {},
    header: {
      msg_id: UUID.uuid4(),
      msg_type: 'wfkernel_request',
      username: kernel.username,
      session: kernel.clientId,
      version: '5.3',
      date: new Date().toISOString()
    }
  };
  return kernel.sendControlMessage(message as unknown as KernelMessage.IControlMessage, true, disposeOnDone);
}

function replyOf(future: { done: Promise<unknown> }): Promise<IReply | null> {
  return future.done.then(
    reply => (reply as { content: IReply }).content,
    () => null
  );
}

function late<T>(value: T): Promise<T> {
  return new Promise(resolve => setTimeout(() => resolve(value), PATIENCE));
}
