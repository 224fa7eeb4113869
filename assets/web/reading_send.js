// Send: hands readings in. What cannot be sent now waits on this computer and is tried again, under the same key.

const RR_FIRST_RETRY_MS = 1500;
const RR_LAST_RETRY_MS = 30000;

// told(event, detail): 'waiting' (how many wait), 'sent' ({token, answer}), 'refused' ({token, sentence}).
function rrSender(told) {
  const sender = { busy: false, timer: 0, delay: RR_FIRST_RETRY_MS };
  // Oldest first, since a reading may have to be handed in before the next one.
  const waiting = () => rrKept('send').map((token) => ({ token, ...rrRead('send', token) }))
    .filter((entry) => entry.key && !entry.refused).sort((a, b) => (a.queued || 0) - (b.queued || 0)).map((entry) => entry.token);

  // Whether a reading is on its way; one that was refused is not, and may be handed in once more.
  sender.has = (token) => { const entry = rrRead('send', token); return Boolean(entry && !entry.refused); };

  // Puts one reading into the queue. A second press of the button finds it there and adds nothing.
  sender.add = (token, body) => {
    if (!sender.has(token)) {
      const safe = rrKeep('send', token, { key: rrMark(), ...body });
      if (!safe) told('unsafe');
    }
    return sender.flush();
  };
  sender.waiting = waiting;
  sender.refused = () => rrKept('send').map((token) => ({ token, ...rrRead('send', token) })).filter((entry) => entry.refused);
  sender.discard = (token) => rrDrop('send', token);

  async function one(token) {
    const entry = rrRead('send', token);
    if (!entry) return;
    const answer = await rrAsk(`/reading/api/items/${encodeURIComponent(token)}/submit`, 'POST', entry);
    rrDrop('send', token);
    rrDrop('draft', token);
    told('sent', { token, answer });
  }

  // Whoever asks while one is on its way is heard when it has arrived: what was added meanwhile goes next.
  sender.flush = async () => {
    if (sender.busy) { sender.more = true; return; }
    sender.busy = true;
    clearTimeout(sender.timer);
    let open = true;
    do {
      sender.more = false;
      for (const token of waiting()) {
        try {
          await one(token);
          Object.assign(sender, { delay: RR_FIRST_RETRY_MS, error: null });
        } catch (error) {
          if (!(error instanceof RrRefusal)) { sender.busy = false; later(error); throw error; } // the page's own fault holds up no answer
          open = !error.again;
          if (!open) { later(error); break; }
          refuse(token, error);
        }
      }
    } while (open && sender.more);
    sender.busy = false;
    told('waiting', { count: waiting().length, error: sender.error && waiting().length ? sender.error : null });
  };

  function later(error) {
    sender.error = error;
    sender.timer = setTimeout(sender.flush, sender.delay * (0.75 + Math.random() / 2));
    sender.delay = Math.min(RR_LAST_RETRY_MS, sender.delay * 2);
  }

  // The server will never take it: the answer stays here until the reader has seen why.
  function refuse(token, error) {
    const entry = rrRead('send', token);
    if (error.status === 409 || error.status === 404 || error.status === 403) rrKeep('send', token, { ...entry, refused: error.message });
    else rrDrop('send', token);
    told('refused', { token, sentence: error.message, status: error.status });
  }

  const now = () => { sender.delay = RR_FIRST_RETRY_MS; if (waiting().length) sender.flush(); };
  globalThis.addEventListener('online', now);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) now(); });
  return sender;
}
