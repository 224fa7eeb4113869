// The evidence panel: mountEvidence(element, getValue, send) shows all maps of a case with what is measured of them.

const EVIDENCE_NONE = 'Open a case in the worklist to see how its maps were made and how far each can be trusted.';
const EVIDENCE_POLL_MS = 700;
const EVIDENCE_SLOWER_MS = 3000;
const EVIDENCE_ASK_MS = 12000;
const EVIDENCE_EXPLAIN_MS = 60000;
const EVIDENCE_SETTLE_MS = 120;

function mountEvidence(element, getValue, send) {
  const before = element.panel;
  if (before) before.dispose();
  const controller = new AbortController(), part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  const ev = {
    element, part, send, signal: controller.signal, value: null, arrivals: 0, large: null, wanted: '', screen: null, asked: new Map(),
    view: before && before.view ? before.view : { image: 0, native: false, smooth: 0, scale: 'own', picked: [], sort: null, hidden: new Set(), open: new Set() },
    poll: { timer: 0, wait: EVIDENCE_POLL_MS, isOut: false },
    dispose: () => { controller.abort(); clearTimeout(ev.poll.timer); clearTimeout(ev.redraw); for (const timer of ev.asked.values()) clearTimeout(timer); },
    alive: () => { if (!element.isConnected && !controller.signal.aborted) ev.dispose(); return !controller.signal.aborted; },
  };
  evidenceBind(ev);
  element.panel = { view: ev.view, dispose: ev.dispose, update: () => { if (ev.alive()) { ev.arrivals += 1; evidenceTake(ev, getValue(), true); } } };
  element.panel.update();
  return element.panel;
}

function evidenceBind(ev) {
  const { part, signal, view } = ev;
  part.root.addEventListener('click', (event) => evidenceClick(ev, event), { signal });
  part.root.addEventListener('change', (event) => {
    if (!event.target.matches('[data-pick]')) return;
    const id = event.target.closest('[data-method]').dataset.method;
    view.picked = event.target.checked ? [...view.picked, id] : view.picked.filter((each) => each !== id);
    evidenceGallery(ev);
  }, { signal });
  part.families.addEventListener('input', (event) => { if (event.target.dataset.setting) event.target.dataset.changed = 'yes'; }, { signal });
  part.native.addEventListener('change', () => { view.native = part.native.checked; evidenceDraw(ev); }, { signal });
  part.smooth.addEventListener('input', () => {
    view.smooth = Number(part.smooth.value);
    evidenceTop(ev);
    clearTimeout(ev.redraw);
    ev.redraw = setTimeout(() => { if (ev.alive()) evidenceDraw(ev); }, EVIDENCE_SETTLE_MS);
  }, { signal });
  part.large.addEventListener('close', () => evidenceClosed(ev), { signal });
  part.large.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    evidenceStep(ev, step);
  }, { signal });
  document.addEventListener('lightbox-shown', (event) => { if (ev.alive()) { ev.screen = event.detail; evidenceVeil(ev); } }, { signal });
  document.addEventListener('visibilitychange', () => { if (ev.alive()) evidenceWatch(ev); }, { signal });
}

// ---- what the reader does --------------------------------------------------------------------------------

function evidenceClick(ev, event) {
  const button = event.target.closest('button');
  if (event.target === ev.part.large) ev.part.large.close(); // beside the view
  if (!button || !ev.value || button.getAttribute('aria-disabled') === 'true') return;
  const { view, part } = ev, { dataset } = button, box = button.closest('[data-method]'), method = box ? box.dataset.method : '';
  if (dataset.target !== undefined) evidenceTarget(ev, dataset.target);
  else if (dataset.image !== undefined) { view.image = Number(dataset.image); evidenceDraw(ev); }
  else if (dataset.scale) { view.scale = dataset.scale; evidenceDraw(ev); }
  else if (dataset.part) evidenceGo(ev, dataset.part);
  else if (dataset.sort !== undefined) evidenceSort(ev, dataset.sort);
  else if (dataset.row) { if (!view.open.delete(dataset.row)) view.open.add(dataset.row); evidenceTrust(ev); }
  else if (dataset.family) { if (!view.hidden.delete(dataset.family)) view.hidden.add(dataset.family); evidenceTrust(ev); }
  else if (dataset.step) evidenceStep(ev, Number(dataset.step));
  else if (dataset.do === 'close') part.large.close();
  else if (dataset.do === 'unpick') { view.picked = []; evidenceGallery(ev); }
  else if (dataset.do === 'compare') evidenceEnlarge(ev, [...view.picked]);
  else if (dataset.do === 'enlarge') evidenceEnlarge(ev, [method]);
  else if (dataset.do === 'show') { if (part.large.open) part.large.close(); evidenceSend(ev, 'show', { method }); }
  else if (dataset.do) evidenceWork(ev, dataset.do, method, dataset.job);
}

// Starts or cancels work; until an answer comes the button says that it has been asked.
function evidenceWork(ev, verb, method, job) {
  if (verb === 'cancel') { evidenceAsk(ev, method ? `cancel ${job}` : evidenceActionOf(ev, job), 'cancel', { job }); return; }
  if (verb === 'again') {
    const known = evidenceMethods(ev.value).find((each) => each.id === method), tile = [...ev.part.families.querySelectorAll('[data-method]')].find((each) => each.dataset.method === method);
    evidenceAsk(ev, `run ${method}`, 'run', { methods: [method], settings: { [method]: evidenceChosen(tile.evidence.form, known) } });
    return;
  }
  if (verb !== 'run') { evidenceAsk(ev, verb, verb, {}); return; }
  const slow = evidenceMethods(ev.value).filter((each) => each.slow && !['done', 'refused', ...EVIDENCE_BUSY].includes(each.state)).map((each) => each.id);
  evidenceAsk(ev, method ? `run ${method}` : 'run', 'run', { methods: method ? [method] : slow });
}

function evidenceActionOf(ev, job) {
  const action = EVIDENCE_ACTIONS.find((each) => ((each.of(ev.value) || {}).job || {}).id === job);
  return action ? action.id : `cancel ${job}`;
}

function evidenceAsk(ev, key, name, data) {
  if (ev.asked.has(key)) return;
  ev.asked.set(key, setTimeout(() => {
    ev.asked.delete(key);
    if (!ev.alive()) return;
    evidenceTrouble(ev, 'No answer yet. Please try again.');
    evidenceDraw(ev);
  }, EVIDENCE_ASK_MS));
  evidenceSend(ev, name, data);
  evidenceActions(ev);
  evidenceGallery(ev);
}

// Each event says which case and class the reader saw.
function evidenceSend(ev, name, data) {
  ev.send(name, { ...data, case: ev.value.case, target: ev.value.target });
}

// Nothing of the class before stays in sight as if it spoke for the new one.
function evidenceTarget(ev, name) {
  if (name === ev.value.target) return;
  ev.wanted = name;
  evidenceTop(ev);
  evidenceVeil(ev);
  ev.send('target', { name, case: ev.value.case, target: ev.value.target });
  clearTimeout(ev.asked.get('target'));
  ev.asked.set('target', setTimeout(() => {
    ev.asked.delete('target');
    if (!ev.alive() || !ev.wanted) return;
    evidenceTrouble(ev, `No answer yet for ${ev.wanted}. The maps below are still those for ${ev.value.target}.`);
    ev.wanted = '';
    evidenceTop(ev);
    evidenceVeil(ev);
  }, EVIDENCE_EXPLAIN_MS));
}

function evidenceGo(ev, name) {
  const section = ev.part.root.querySelector(`section[data-part="${name}"]`);
  section.style.scrollMarginTop = `${ev.part.bar.offsetHeight + 10}px`;
  section.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  section.focus({ preventScroll: true });
}

// The reader comes back to the tile from which the view was opened.
function evidenceClosed(ev) {
  const from = ev.large && ev.large.methods.length === 1 ? ev.large.methods[0] : null;
  ev.large = null;
  evidencePlace(ev, from);
}

function evidencePlace(ev, method) {
  const tile = method && [...ev.part.families.querySelectorAll('[data-method]')].find((each) => each.dataset.method === method);
  if (tile && !tile.evidence.open.hidden && !tile.contains(document.activeElement)) tile.evidence.open.focus({ preventScroll: false });
}

// ---- from Python to the reader ---------------------------------------------------------------------------

function evidenceTake(ev, value, isAnswer) {
  const last = ev.value, { part } = ev, isKnown = Boolean(value && value.case);
  ev.value = isKnown ? value : null;
  evidenceHide(part.empty, isKnown);
  evidenceHide(part.body, !isKnown);
  if (isAnswer) {
    for (const timer of ev.asked.values()) clearTimeout(timer);
    ev.asked.clear();
    ev.wanted = '';
    evidenceTrouble(ev, '');
    ev.poll.isOut = false;
    ev.poll.wait = EVIDENCE_POLL_MS;
  }
  if (isKnown && last && last.case !== value.case) ev.view.open.clear();
  if (isKnown) evidenceSay(ev, last, value);
  evidenceDraw(ev);
  evidenceWatch(ev);
}

function evidenceDraw(ev) {
  evidenceVeil(ev);
  evidenceLarge(ev);
  if (!ev.value) return;
  for (const draw of [evidenceTop, evidenceActions, evidenceGallery, evidenceTrust, evidenceAgree, evidenceHeat, evidenceSanity]) draw(ev);
}

// Maps of one case or class are not seen while another is on its way.
function evidenceVeil(ev) {
  const { value, screen, part, wanted } = ev, isOther = Boolean(value && screen && screen.case && screen.case !== value.case);
  const isAway = isOther || Boolean(wanted);
  evidenceText(part.empty, !value && screen && screen.case ? `The evidence of ${screen.case} is being gathered\u2026` : EVIDENCE_NONE);
  part.all.classList.toggle('is-away', isAway);
  part.all.inert = isAway;
  part.actions.inert = isAway;
  if (isAway) evidenceText(part.status, isOther ? 'The evidence of the open case is on its way.' : `The maps for ${wanted} are being drawn.`);
  evidenceData(part.all, 'say', isOther ? 'The evidence of the open case is on its way.' : wanted ? `The maps for ${wanted} are being drawn\u2026` : '');
}

function evidenceTrouble(ev, text) {
  evidenceLine(ev.part.trouble, text);
}

// Tells a reader who cannot see the tiles what has come to an end.
function evidenceSay(ev, last, value) {
  if (!last || last.case !== value.case || last.target !== value.target) return;
  const before = new Map(evidenceMethods(last).map((each) => [each.id, each.state])), words = { done: 'is drawn', failed: 'could not be drawn', cancelled: 'was cancelled' };
  const news = evidenceMethods(value).filter((each) => EVIDENCE_BUSY.includes(before.get(each.id)) && words[each.state]).map((each) => `${each.title} ${words[each.state]}.`);
  for (const action of EVIDENCE_ACTIONS) {
    const was = (action.of(last) || {}).state, is = (action.of(value) || {}).state;
    if (EVIDENCE_BUSY.includes(was) && is && !EVIDENCE_BUSY.includes(is)) news.push(`${action.title}: ${is}.`);
  }
  if (news.length) evidenceText(ev.part.status, news.join(' '));
}

// ---- while work is under way -----------------------------------------------------------------------------

function evidenceIsBusy(value) {
  const whole = EVIDENCE_ACTIONS.map((action) => action.of(value)).filter(Boolean);
  return [...evidenceMethods(value), ...whole].some((each) => EVIDENCE_BUSY.includes(each.state));
}

// Asks again only while a job waits or runs; while nobody looks it only looks whether somebody does.
function evidenceWatch(ev) {
  clearTimeout(ev.poll.timer);
  if (!ev.value || ev.poll.isOut || !evidenceIsBusy(ev.value)) return;
  ev.poll.timer = setTimeout(() => {
    if (!ev.alive()) return;
    if (document.hidden || !ev.part.root.getClientRects().length || ev.wanted) evidenceWatch(ev);
    else evidenceFetch(ev);
  }, ev.poll.wait);
}

async function evidenceFetch(ev) {
  const { case: name, target } = ev.value, { arrivals } = ev, query = target ? `?target=${encodeURIComponent(target)}` : '';
  let value = null, isRefused = false;
  try {
    const answer = await fetch(`/evidence/${encodeURIComponent(name)}.json${query}`, { cache: 'no-store', headers: { Accept: 'application/json' }, signal: ev.signal });
    isRefused = answer.redirected || (answer.status >= 400 && answer.status < 500);
    if (answer.ok && !answer.redirected) value = await answer.json();
  } catch (error) { /* said below: the server is out of reach */ }
  if (!ev.alive() || ev.arrivals !== arrivals || !ev.value) return; // Python has told something newer
  if (value && value.case === name && value.target === target) {
    if (ev.poll.wait !== EVIDENCE_POLL_MS) evidenceTrouble(ev, '');
    ev.poll.wait = EVIDENCE_POLL_MS;
    evidenceTake(ev, value, false);
    return;
  }
  ev.poll.wait = EVIDENCE_SLOWER_MS;
  ev.poll.isOut = isRefused;
  evidenceTrouble(ev, isRefused ? 'The progress of this case can no longer be read. Please open the case again.' : 'The server does not answer. What is shown here may be out of date.');
  evidenceWatch(ev);
}
