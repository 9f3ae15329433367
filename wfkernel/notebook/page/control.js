// Sending a command to the kernel, also while a cell keeps it busy.
//
// Three ways lead to the same place (`wfkernel.notebook.commands`):
//   1. the kernel's control channel, which answers in milliseconds whatever the cell does. JupyterLab and Notebook 7
//      give widgets their kernel connection; nobody promises that, so it is looked for each time. The trait `control`
//      says whether this kernel listens there;
//   2. a widget message. Most kernels read it only when the cell has ended;
//   3. Interrupt, for what has to stop now: it suspends the run, and once more cancels it.
// The kernel answers a command it has heard already with the same reply, so asking twice is safe.

const PATIENCE = 2000; // milliseconds until the next way is tried

const after = (ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value));

function byControlChannel(kernel, command) {
  const header = {
    msg_id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, msg_type: "wfkernel_request", version: "5.3",
    username: kernel.username, session: kernel.clientId, date: new Date().toISOString(),
  };
  const message = { channel: "control", header, parent_header: {}, metadata: {}, content: command, buffers: [] };
  return kernel.sendControlMessage(message, true, true).done.then((reply) => reply.content);
}

function byWidget(model, command) {
  return new Promise((resolve) => {
    const hear = (content) => {
      if (content?.id !== command.id) return;
      model.off("msg:custom", hear);
      resolve(content.reply);
    };
    model.on("msg:custom", hear);
    model.send({ id: command.id, command });
  });
}

/** Send a command, `{op, ...}`, and resolve to its reply: `{ok: true, ...}` or `{ok: false, problems: [[field, text]]}`. */
async function ask(model, command) {
  command = { id: `${Date.now()}-${Math.random()}`, view: model.get("view_id"), ...command };
  const kernel = model.widget_manager?.kernel;
  if (model.get("control") && kernel?.sendControlMessage) {
    const reply = await Promise.race([byControlChannel(kernel, command).catch(() => null), after(PATIENCE, null)]);
    if (reply) return reply;
  }
  const answer = byWidget(model, command);
  if (command.op !== "suspend" && command.op !== "cancel") return answer;
  const soon = await Promise.race([answer, after(PATIENCE, null)]);
  if (soon) return soon;
  if (!kernel?.interrupt) {
    return { ok: false, problems: [["", "The kernel is busy and cannot hear this button here: press Interrupt instead."]] };
  }
  await kernel.interrupt();
  return { ok: true };
}
