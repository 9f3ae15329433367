/**
 * Commands to a kernel, on its control channel: answered while a cell is running.
 *
 * The kernel's side is `wfkernel.notebook.control`; `wfkernel.notebook.commands` lists the commands.
 */
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
  notebook: string;
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
}

/** Send a command; resolves to null where the kernel does not answer, as one without wfkernel never does. */
export async function tell(kernel: Kernel.IKernelConnection, command: { op: string; by?: string }): Promise<IReply | null> {
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
  const future = kernel.sendControlMessage(message as unknown as KernelMessage.IControlMessage, true, true);
  const answer = future.done.then(
    reply => (reply as unknown as { content: IReply }).content,
    () => null
  );
  const late = new Promise<null>(resolve => setTimeout(() => resolve(null), PATIENCE));
  const reply = await Promise.race([answer, late]);
  if (reply === null) {
    future.dispose();
  }
  return reply;
}
