// The reading room: one reading a screen, its questions beside it; or the list of one's studies.

const RR_API = '/reading/api';

function rrStart() {
  const part = Object.fromEntries([...document.querySelectorAll('[data-rr]')].map((node) => [node.dataset.rr, node]));
  const code = rrMeta('lightbox-study');
  if (code) rrRoom(part, code);
  else rrStudies(part);
}

async function rrStudies(part) {
  try {
    rrList(part.screen, await rrAsk(`${RR_API}/studies`));
  } catch (error) {
    rrMessage(part.screen, 'Your studies cannot be shown', [error.message], [['Try again', () => rrStudies(part), true]]);
  }
}

function rrRoom(part, code) {
  const room = { part, code, data: null, item: null, form: null, viewer: null, clock: null, draft: null, marking: null, ahead: null, fetched: '', onward: null, notices: new Map(), began: performance.now() };
  room.address = `${RR_API}/studies/${encodeURIComponent(code)}`;
  room.sender = rrSender((event, detail) => rrSent(room, event, detail));
  room.tabs = rrTabs(code, (event, detail) => rrTab(room, event, detail));
  Object.assign(room, {
    hand: () => rrHand(room), skip: (step) => rrSkip(room, step),
    helpDialog: rrHelp(), help: () => room.helpDialog.showModal(),
    leave: () => location.assign('/reading'), resume: () => rrPause(room, 'resume'), pause: () => rrPause(room, 'break'),
  });
  rrBar(room);
  rrKeys(room);
  addEventListener('pagehide', () => { if (room.draft) room.draft.flush(); rrHoldClock(room); });
  setInterval(() => rrLong(room), 30000);
  rrRefused(room);
  room.sender.flush().then(() => rrOpen(room));
}

// The line over image and questions: which reading, how far, break, guide, keys.
function rrBar(room) {
  const bar = rrNode('div', 'lbx rr-bar'), right = rrNode('div', 'lbx-row');
  room.part.main.before(bar);
  room.place = rrNode('strong', 'rr-place lbx-number', '', bar);
  room.meter = rrNode('progress', '', '', bar);
  room.meter.setAttribute('aria-label', 'Readings handed in');
  room.left = rrNode('span', 'lbx-soft lbx-number', '', bar);
  bar.append(right);
  room.breaker = rrButton('Take a break', room.pause, right);
  rrButton('Guide', () => rrShowGuide(room), right);
  rrButton('Keys', room.help, right).title = 'Keys (?)';
  bar.hidden = true;
  room.bar = bar;
}

function rrProgress(room) {
  const { data, item } = room, { progress } = data;
  room.bar.hidden = false;
  room.place.textContent = item ? rrIdentity(item) : '';
  Object.assign(room.meter, { max: Math.max(1, progress.planned), value: progress.done });
  const session = progress.sessions > 1 ? ` · session ${progress.session} of ${progress.sessions}` : '';
  const left = item && Number.isFinite(progress.left_in_session) ? ` · ${progress.left_in_session} left in this session` : '';
  room.left.textContent = `${progress.done} of ${progress.planned} handed in${session}${left}`;
  room.breaker.hidden = !item || data.state !== 'ready';
  room.part.title.textContent = data.title;
}

async function rrOpen(room) {
  try {
    room.data = await rrAsk(room.address);
  } catch (error) {
    rrClear(room);
    rrMessage(room.part.screen, 'The study cannot be opened', [error.message], [['Try again', () => rrOpen(room), true], ['Back to my studies', room.leave, false]]);
    return;
  }
  const fresh = room.data.state === 'ready' && !room.data.progress.done && !room.begun;
  if (fresh) { rrClear(room); rrProgress(room); rrGuide(room.part.screen, room.data, () => { room.begun = true; rrGo(room); }); } else rrGo(room);
}

// To the next unread reading, or to what stands in its place.
function rrGo(room, ready) {
  const { data } = room;
  if (data.next && (data.state === 'ready' || !data.state)) return rrShowItem(room, data.next, ready);
  rrClear(room);
  rrProgress(room);
  rrStateScreen(room.part.screen, data, room);
  return null;
}

// Leaves the present reading: its clock, its draft and its drawing end.
function rrClear(room) {
  rrHoldClock(room);
  if (room.clock) room.clock.stop();
  if (room.marking) room.marking.stop();
  if (room.draft) { room.draft.flush(); room.draft.close(); }
  if (room.viewer) room.viewer.dispose();
  const stage = room.part.viewer.querySelector('[data-lbv="stage"]');
  if (stage) stage.replaceChildren(); // nothing of this reading may stay beside the next one
  Object.assign(room, { item: null, form: null, viewer: null, clock: null, marking: null, draft: null, onward: null, stuck: '' });
  room.part.desk.hidden = true;
  room.part.screen.hidden = false;
}

// What was measured so far outlives a look at the guide, a break, or a page that is loaded anew.
function rrHoldClock(room) {
  if (room.clock && room.item && !room.item.revision && !rrRead('send', room.item.token)) rrKeep('clock', room.item.token, room.clock.read());
}

async function rrShowItem(room, token, ready) {
  const turn = room.turn = {};
  let item = ready && ready.token === token ? ready : null;
  try {
    item = item || await rrAsk(`${RR_API}/items/${encodeURIComponent(token)}`);
  } catch (error) {
    if (room.turn !== turn) return;
    rrClear(room);
    rrMessage(room.part.screen, 'The reading cannot be shown', [error.message], [['Try again', () => rrOpen(room), true], ['Back to my studies', room.leave, false]]);
    return;
  }
  if (room.turn === turn) rrPresent(room, item);
}

function rrPresent(room, item) {
  rrClear(room);
  const { part, data } = room, begin = rrBegin(item), regions = [], asked = new Set(item.questions), turn = room.turn;
  Object.assign(room, { item, regions });
  part.screen.hidden = true;
  part.desk.hidden = false;
  part.desk.classList.toggle('is-closing', !item.viewer);
  part.desk.classList.toggle('has-maps', Boolean(item.viewer && (item.viewer.layers || []).length));
  const images = item.viewer ? item.viewer.images : [], value = () => (item.viewer ? { ...item.viewer, regions: room.regions } : null);
  if (item.viewer) room.viewer = mountLightboxViewer(part.viewer, value, () => {});
  room.marking = rrMarking(part.viewer.querySelector('[data-lbv="stage"]') || part.viewer, images, () => room.viewer, (drawn) => {
    room.regions = drawn;
    if (room.viewer) room.viewer.update();
  });
  room.draft = rrDraft(item.token, begin.sequence, room.tabs.id, () => room.form.take(), (state, error) => rrDrafted(room, state, error));
  const questions = data.questions.filter((question) => asked.has(question.id));
  room.form = rrForm(part.panel, {
    item, questions, begin, marking: room.marking, hand: room.hand, skip: room.skip,
    changed: () => { if (!item.revision) room.draft.changed(); },
  });
  room.marking.draw();
  if (begin.mine && !item.read_only) room.draft.changed();
  rrProgress(room);
  part.panel.scrollTop = 0;
  if (!document.activeElement || document.activeElement === document.body) part.panel.focus();
  rrBegan(room, turn);
}

// The clock runs once the image is there; then the pixels of the reading after this one are fetched.
async function rrBegan(room, turn) {
  const { item, viewer } = room;
  if (viewer) await viewer.ready;
  if (room.turn !== turn || room.item !== item) return;
  room.clock = rrClock(() => (room.viewer ? room.viewer.state() : null), Boolean(viewer && item.viewer.layers.length), rrRead('clock', item.token));
  if (!item.revision) rrAsk(`${RR_API}/items/${encodeURIComponent(item.token)}/shown`, 'POST', {}).catch(() => {});
  if (item.ahead) rrAhead(room, item.ahead);
}

async function rrAhead(room, token) {
  try {
    const item = await rrAsk(`${RR_API}/items/${encodeURIComponent(token)}`), { viewer } = item;
    room.ahead = item;
    if (!viewer) { room.fetched = token; return; }
    const urls = viewer.images.map((image) => image.url.replace('{frame}', String(image.frame || 0)));
    const maps = viewer.layers.filter((layer) => layer.visible !== false && lightboxDrawable(layer)).map((layer) => layer.url);
    for (const url of [...urls, ...maps]) {
      const answer = await fetch(url, { credentials: 'same-origin', priority: 'low' });
      await answer.arrayBuffer();
      if (!answer.ok) return;
    }
    room.fetched = token;
  } catch (error) { /* it is fetched when it is its turn */ }
}

// ---- handing in ------------------------------------------------------------------------------------------

function rrHand(room) {
  const { form, item } = room;
  if (room.onward) { room.onward(); return; }
  if (!form || form.panel.inert) return;
  if (form.locked) { rrSkip(room, 'next'); return; }
  if (!rrComplete(form)) return;
  form.panel.inert = true;
  form.status.textContent = 'Handing in …';
  room.draft.close();
  const timing = room.clock ? room.clock.read() : { first_ms: null, active_ms: 0, opacity: 0, window: 0, method: 0, heat_seen: null };
  const body = { ...form.take(), timing, revision: item.revision || 0, reason: form.reason ? form.reason.value.trim() : '', queued: Date.now() };
  rrDrop('clock', item.token);
  room.sender.add(item.token, body);
}

// What became of the readings that were handed in.
function rrSent(room, event, detail) {
  if (event === 'sent') rrTaken(room, detail);
  else if (event === 'refused') rrRefusal(room, detail);
  else if (event === 'unsafe') rrNotice(room, 'unsafe', 'This browser keeps nothing on this computer: please leave this page open until your answers are sent.');
  else rrWaiting(room, detail);
}

function rrTaken(room, { token, answer }) {
  room.tabs.handed(token);
  rrDrop('clock', token);
  rrRefused(room);
  if (!room.data) return;
  Object.assign(room.data, { progress: answer.progress || room.data.progress, state: answer.state, message: answer.message, next: answer.next, from: answer.from });
  if (room.item && room.item.token === token) {
    room.item.revision = answer.revision; // its clock is not kept any more
    const go = () => {
      const ready = room.ahead && room.ahead.token === answer.next ? { ...room.ahead, previous: token } : null;
      room.turn = {};
      rrGo(room, ready);
    };
    if (answer.feedback) rrFeedback(room, answer.feedback, go);
    else go();
  } else if (room.stuck) rrGo(room);
  else if (room.item) rrProgress(room);
}

function rrFeedback(room, text, go) {
  const { form } = room, box = rrNode('div', 'rr-feedback');
  form.panel.inert = false;
  for (const node of form.panel.querySelectorAll('button, input, textarea')) node.disabled = true;
  rrNode('h3', '', 'Feedback', box);
  rrNode('p', 'rr-prose', text, box);
  const button = rrButton('Go on', go, box, 'lbx-main');
  button.title = 'Ctrl+Enter';
  form.panel.append(box);
  form.status.textContent = 'Handed in.';
  room.onward = go;
  button.focus();
}

// Nothing is lost: the reader goes on with what was fetched already, or waits.
function rrWaiting(room, { count, error }) {
  if (!count) { rrNotice(room, 'net', ''); return; }
  const kept = `${rrCount(count, 'answer')} ${count === 1 ? 'is' : 'are'} kept on this computer and will be sent.`;
  rrNotice(room, 'net', `${error && error.ended ? error.message : 'Not connected.'} ${kept}`, ['Try now', () => room.sender.flush()]);
  const { item } = room;
  if (!item || !room.sender.has(item.token) || room.onward) return;
  if (item.ahead && room.fetched === item.ahead && room.ahead.token === item.ahead) { // with its images
    const next = { ...room.ahead, previous: null };
    room.turn = {};
    rrPresent(room, next);
    return;
  }
  rrClear(room);
  room.stuck = 'offline';
  rrMessage(room.part.screen, 'Kept on this computer', ['Your answers are safe here. The next reading opens as soon as they have reached the server; this page may stay open until then.'], [['Try now', () => room.sender.flush(), true]]);
}

function rrRefusal(room, { token, sentence, status }) {
  const here = room.item && room.item.token === token && room.form;
  if (here && (status === 400 || status === 413)) {
    room.form.panel.inert = false;
    const begin = room.draft;
    room.draft = rrDraft(token, begin.sequence, room.tabs.id, () => room.form.take(), (state, error) => rrDrafted(room, state, error));
    rrNotice(room, 'refused', `Not handed in: ${sentence}`, ['Close', () => rrNotice(room, 'refused', '')]);
    return;
  }
  rrRefused(room);
  const mend = status === 400 || status === 413; // its draft is still here, and it is its turn again
  if (mend) rrNotice(room, 'refused', `Not handed in: ${sentence}`, ['Close', () => rrNotice(room, 'refused', '')]);
  if (room.data && (here || room.stuck || mend)) { room.turn = {}; rrOpen(room); }
}

// Answers that the server will not take stay here until their reader has seen why.
function rrRefused(room) {
  const [first] = room.sender.refused();
  if (!first) { rrNotice(room, 'refused', ''); return; }
  rrNotice(room, 'refused', `An answer kept on this computer was not taken: ${first.refused}`, ['Discard it', () => { room.sender.discard(first.token); rrRefused(room); }]);
}

// ---- around it -------------------------------------------------------------------------------------------

function rrSkip(room, step) {
  const { item, data, form } = room;
  if (!item || (form && form.panel.inert)) return;
  if (room.onward && step === 'next') { room.onward(); return; }
  const handed = Boolean(item.revision) || item.read_only, target = step === 'previous' ? item.previous : item.following || data.next;
  if (step === 'next' && !handed) { form.status.textContent = 'Please hand in this reading first (Ctrl+Enter).'; return; }
  if (!target) { form.status.textContent = step === 'previous' ? 'There is no reading before this one.' : 'This is the last one.'; return; }
  rrShowItem(room, target);
}

async function rrPause(room, what) {
  if (room.draft) room.draft.flush();
  try {
    const data = await rrAsk(`${room.address}/${what}`, 'POST', {});
    room.data = data && data.progress ? data : await rrAsk(room.address);
    room.began = performance.now();
    room.turn = {};
    rrNotice(room, 'long', '');
    rrGo(room);
  } catch (error) {
    rrNotice(room, 'pause', error.message, ['Close', () => rrNotice(room, 'pause', '')]);
  }
}

// A prompt, once the session has lasted as long as the study wants.
function rrLong(room) {
  const minutes = room.data && room.data.limits ? room.data.limits.minutes : 0;
  if (room.item && minutes && performance.now() - room.began >= minutes * 60000) rrNotice(room, 'long', `You have been reading for ${minutes} minutes. Please take a break after this reading.`, ['Take a break', room.pause]);
}

function rrShowGuide(room) {
  if (!room.data) return;
  const { item } = room;
  if (room.draft) room.draft.flush();
  rrClear(room);
  rrProgress(room);
  room.turn = {};
  rrGuide(room.part.screen, room.data, () => { room.begun = true; if (item) rrShowItem(room, item.token); else rrOpen(room); });
}

function rrDrafted(room, state, error) {
  const line = room.form && room.form.status;
  if (!line) return;
  line.classList.toggle('is-bad', state === 'bad' || state === 'kept');
  if (state === 'saving') line.textContent = 'Saving …';
  else if (state === 'kept') line.textContent = 'Not connected: kept on this computer';
  else if (state === 'bad') line.textContent = error.message;
  else line.textContent = `Draft saved ${rrTime(new Date())}`;
  rrNotice(room, 'elsewhere', state === 'other' ? 'This reading is open in another window under your name. Please use only one: the last change counts.' : '');
}

function rrTab(room, event, detail) {
  if (event === 'other') {
    rrNotice(room, 'tab', detail.count ? 'This study is open in another tab of this browser. Please close one of the two: the last change counts.' : '');
  } else if (room.item && room.item.token === detail.token && !rrRead('send', detail.token)) {
    room.turn = {};
    rrOpen(room);
  }
}

// One line over the page for each thing that has to be known; an empty text takes it away.
function rrNotice(room, name, text, button) {
  const old = room.notices.get(name);
  if (old && old.dataset.text === text) return;
  if (old) old.remove();
  room.notices.delete(name);
  if (!text) return;
  const line = rrNode('p', 'lbx-note', text, room.part.notices);
  line.dataset.text = text;
  if (button) rrButton(button[0], button[1], line);
  room.notices.set(name, line);
}

rrStart();
