// Draft: keeps what is being answered half a second after each change, here at once and on the server.

const RR_PAUSE_MS = 500;

// take(): {answers, comment}; told(state, detail) with 'saving', 'saved', 'kept' (on this computer only), 'other', 'bad'.
function rrDraft(token, sequence, tab, take, told) {
  const draft = { sequence, timer: 0, closed: false, flight: null, dirty: false };
  const path = `/reading/api/items/${encodeURIComponent(token)}/draft`;

  async function send(more) {
    clearTimeout(draft.timer);
    draft.timer = 0;
    if (draft.flight) return draft.flight;
    draft.dirty = false;
    const body = { sequence: draft.sequence, tab, ...take() };
    draft.flight = rrAsk(path, 'PUT', body, more).then((answer) => {
      draft.sequence = Math.max(draft.sequence, answer.sequence || 0);
      // Another window was further on, so that this was left out: the last change counts, and is sent once more.
      if (answer.sequence > body.sequence) { draft.sequence += 1; draft.dirty = true; }
      if (!draft.closed) told(answer.other_tab ? 'other' : 'saved');
    }, (error) => {
      if (!draft.closed) told(error.again ? 'kept' : 'bad', error);
      if (error.again && !draft.closed) draft.timer = setTimeout(send, 5000);
    }).finally(() => { draft.flight = null; if (draft.dirty && !draft.closed) send(); });
    return draft.flight;
  }

  draft.changed = () => {
    if (draft.closed) return;
    draft.sequence += 1;
    draft.dirty = true;
    rrKeep('draft', token, { sequence: draft.sequence, ...take() });
    clearTimeout(draft.timer);
    draft.timer = setTimeout(() => send(), RR_PAUSE_MS);
    told('saving');
  };
  // Sends what still waits for its pause, such as when the page is left.
  draft.flush = () => { if (draft.timer && !draft.closed) send({ keepalive: true }); };
  draft.close = () => { draft.closed = true; clearTimeout(draft.timer); };
  return draft;
}

// Answers to begin with: those on this computer where they are newer than the server's draft.
function rrBegin(item) {
  const mine = rrRead('draft', item.token), held = { answers: item.answers || {}, comment: item.comment || '' };
  const sequence = item.draft_sequence || 0;
  if (item.revision || !mine || mine.sequence <= sequence) return { ...held, sequence, mine: false };
  return { answers: mine.answers || {}, comment: mine.comment || '', sequence: mine.sequence, mine: true };
}
