// The rating form: mountRatingForm(element, getValue, send) keeps what the reader enters until Python has it.

const RATING_PAUSE_MS = 800;
const RATING_WAIT_MS = 15000;
const RATING_HOLD_MS = 4000;
const RATING_LONGEST = 10000;

function mountRatingForm(element, getValue, send) {
  const before = element.panel;
  if (before) before.dispose();
  const controller = new AbortController(), part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  const form = {
    element, part, send, signal: controller.signal, value: null, key: '', layout: '', questions: [], hold: 0, step: null, near: null, screen: null,
    drafts: before && before.drafts ? before.drafts : new Map(), errorSeen: null,
    dispose: () => { ratingLeave(form); controller.abort(); },
    alive: () => { if (!element.isConnected && !controller.signal.aborted) form.dispose(); return !controller.signal.aborted; },
  };
  ratingBind(form);
  element.panel = { drafts: form.drafts, dispose: form.dispose, update: () => { if (form.alive()) ratingTake(form, getValue()); } };
  element.panel.update();
  return element.panel;
}

function ratingBind(form) {
  const { part, signal } = form;
  part.root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    if (button.dataset.do) ratingStep(form, button.dataset.do);
    else if (button.dataset.point) ratingChoose(form, button.dataset.question, Number(button.dataset.point));
    else if (button.dataset.retry) ratingRetry(form, button.dataset.retry);
  }, { signal });
  part.method.addEventListener('change', () => ratingStep(form, 'method', { method: part.method.value }), { signal });
  part.questions.addEventListener('focusin', () => ratingMark(form), { signal });
  part.questions.addEventListener('focusout', () => setTimeout(() => { if (form.alive()) ratingMark(form); }), { signal });
  part.keys.checked = ratingWantsKeys();
  part.keys.addEventListener('change', () => {
    try { localStorage.setItem('lightbox.keys', part.keys.checked ? 'on' : 'off'); } catch (error) { /* a private window keeps nothing */ }
  }, { signal });
  document.addEventListener('lightbox-shown', (event) => {
    if (!form.alive()) return;
    form.screen = event.detail;
    ratingVeil(form);
  }, { signal });
  document.addEventListener('keydown', (event) => ratingKey(form, event), { signal, capture: true });
  globalThis.addEventListener('beforeunload', (event) => {
    if (form.alive() && [...form.drafts.values()].some((draft) => draft.flight || ratingDiffers(draft))) event.preventDefault();
  }, { signal });
}

function ratingWantsKeys() {
  try { return localStorage.getItem('lightbox.keys') !== 'off'; } catch (error) { return true; }
}

// ---- what is known of one answer -------------------------------------------------------------------------

// A draft is one question of one case, map and class: what Python holds, what the reader wants, what is on its way.
function ratingDraft(form, question) {
  const key = `${form.key}\n${question}`, { value } = form;
  if (!form.drafts.has(key)) {
    const place = { question, case: value.case, method: value.method, target: value.target, weights: value.weights || '' };
    form.drafts.set(key, { place, held: ratingAnswer(null), wish: null, flight: null, timer: 0, watch: 0, error: '', versions: 0 });
  }
  return form.drafts.get(key);
}

function ratingAnswer(answer) {
  const given = answer || {};
  return { status: given.status || '', value: given.value === undefined ? null : given.value, comment: given.comment || '',
    revision: given.revision || 0, saved_at: given.saved_at || '' };
}

// What the form shows: the reader's wish where there is one, otherwise what is stored.
function ratingShown(draft) {
  return draft.wish || draft.held;
}

function ratingSame(a, b) {
  return a.status === b.status && a.value === b.value && a.comment.trim() === b.comment.trim();
}

function ratingDiffers(draft) {
  return Boolean(draft.wish) && !ratingSame(draft.wish, draft.held);
}

// ---- from the reader to Python ---------------------------------------------------------------------------

function ratingChoose(form, question, point) {
  const draft = ratingDraft(form, question), status = point ? 'answered' : 'cannot_judge';
  draft.wish = { ...ratingShown(draft), status, value: point || null };
  ratingSend(form, draft);
}

function ratingWrite(form, question, text) {
  const draft = ratingDraft(form, question);
  draft.wish = { ...ratingShown(draft), comment: text };
  clearTimeout(draft.timer);
  draft.timer = setTimeout(() => { if (form.alive()) ratingSend(form, draft); }, RATING_PAUSE_MS);
  ratingState(form, draft);
}

// Sends the wish, one at a time for each question, so that every version names the one it replaces.
function ratingSend(form, draft) {
  clearTimeout(draft.timer);
  draft.timer = 0;
  draft.error = '';
  if (!draft.flight && ratingDiffers(draft) && draft.wish.status) {
    const { status, value, comment } = draft.wish;
    draft.flight = { status, value, comment, revision: draft.held.revision };
    draft.watch = setTimeout(() => ratingFail(form, draft, 'the server does not answer.'), RATING_WAIT_MS);
    form.send('rate', { ...draft.place, ...draft.flight });
  }
  ratingState(form, draft);
}

function ratingRetry(form, question) {
  ratingSend(form, ratingDraft(form, question));
}

function ratingFail(form, draft, reason) {
  clearTimeout(draft.watch);
  draft.flight = null;
  draft.error = reason;
  if (!form.signal.aborted) ratingState(form, draft);
}

// Sends what is still waiting for a pause in the typing, before this case or map leaves the screen.
function ratingLeave(form) {
  for (const draft of form.drafts.values()) if (draft.timer) ratingSend(form, draft);
}

// Asks for another case or map. Until it is here nothing can be answered, so that no answer meant for the one
// that is coming is stored for the one that is leaving.
function ratingStep(form, name, data) {
  ratingLeave(form);
  clearTimeout(form.hold);
  form.hold = setTimeout(() => { ratingGo(form); ratingRelease(form); }, RATING_HOLD_MS);
  form.part.questions.inert = true;
  form.step = () => ratingMove(form, name, data || {});
  if (!ratingInFlight(form, form.key)) ratingGo(form);
}

// Lets the viewer show a neighbour at once; Python is told which case that is.
function ratingMove(form, name, data) {
  const near = form.near && form.near[name], send = () => form.send(name, near ? { ...data, case: near } : data);
  const until = near && ratingTell('lightbox-open', form, near).until;
  if (until) until.then((isCurrent) => { if (isCurrent) send(); });
  else send();
}

// Says to the viewer which case comes next; gives what the viewer adds (see viewer_ahead.js).
function ratingTell(name, form, near) {
  const detail = { case: near, method: form.value.method };
  document.dispatchEvent(new CustomEvent(name, { detail }));
  return detail;
}

// Takes in which cases come next, so that the viewer may fetch them.
function ratingNear(form, value, moved) {
  if (value.neighbours) form.near = value.neighbours;
  else if (moved) form.near = null;
  for (const near of moved && form.near ? [form.near.next, form.near.previous] : []) if (near) ratingTell('lightbox-prefetch', form, near);
}

// While the viewer shows another case or class than this form speaks for, nothing of the form is seen or answered.
function ratingAway(form) {
  const { screen, value } = form;
  if (!screen || !value || !value.case) return false;
  return screen.case !== value.case || Boolean(screen.target && value.target && screen.target !== value.target);
}

function ratingVeil(form) {
  const { questions, about, method } = form.part, away = ratingAway(form);
  for (const node of [questions, about, method]) node.style.visibility = away ? 'hidden' : '';
  if (away) questions.inert = true;
  else if (form.veiled) ratingRelease(form);
  form.veiled = away;
}

// Sends the step once nothing of this case is on its way, so that a late answer cannot bring this case back.
function ratingGo(form) {
  const { step } = form;
  form.step = null;
  if (step) step();
}

function ratingInFlight(form, key) {
  return [...form.drafts].some(([name, draft]) => draft.flight && name.startsWith(`${key}\n`));
}

function ratingRelease(form) {
  clearTimeout(form.hold);
  form.part.questions.inert = ratingAway(form) || Boolean(form.value && form.value.read_only);
  if (form.value) form.part.method.value = form.value.method;
}

// ---- from Python to the reader ---------------------------------------------------------------------------

function ratingTake(form, value) {
  const known = Boolean(value && value.case && (value.methods || []).length && (value.questions || []).length);
  form.part.empty.hidden = known;
  form.part.body.hidden = !known;
  const key = known ? JSON.stringify([value.case, value.reader, value.method, value.target, value.weights]) : '';
  const moved = key !== form.key, old = form.value;
  if (known && moved && old && value.version < old.version && ratingInFlight(form, key)) { ratingLate(form, value, key); return; }
  if (moved) ratingLeave(form);
  Object.assign(form, { value, key, questions: known ? value.questions : [] });
  if (!known) return;
  ratingLayout(form);
  ratingHead(form);
  const fresh = value.error && (!old || old.version !== value.version || old.error !== value.error);
  for (const { id } of form.questions) ratingReceive(form, id, (value.answers || {})[id], fresh ? value.error : '');
  ratingFill(form, moved);
  if (value.error) form.step = null; // the reader stays where the answer was refused
  if (form.step && !ratingInFlight(form, key)) ratingGo(form);
  if (moved || value.error) ratingRelease(form);
  ratingVeil(form);
  ratingNear(form, value, moved);
  const told = !value.read_only && form.questions.some(({ id }) => ratingDraft(form, id).error === value.error);
  const note = value.read_only ? 'Your account looks on: ratings are given by readers.' : value.error;
  form.part.questions.hidden = Boolean(value.read_only);
  form.part.error.hidden = !note || told;
  form.part.error.textContent = note || '';
}

// A confirmation that arrives after another case was opened settles its answers and does not bring its case back.
function ratingLate(form, value, key) {
  const now = { value: form.value, key: form.key };
  Object.assign(form, { value, key });
  for (const { id } of form.questions) ratingReceive(form, id, (value.answers || {})[id], value.error || '');
  Object.assign(form, now);
  ratingFill(form, true);
}

// Settles one answer: stored as sent, refused, or overtaken by an answer given elsewhere.
function ratingReceive(form, question, answer, error) {
  const draft = ratingDraft(form, question), now = ratingAnswer(answer), { flight } = draft;
  const newer = now.revision > draft.held.revision;
  draft.versions = Math.max(Number((form.value.history || {})[question]) || 0, now.revision);
  if (now.revision >= draft.held.revision) draft.held = now;
  if (flight && (newer || (now.revision && ratingSame(now, flight)))) {
    clearTimeout(draft.watch);
    draft.flight = null;
    if (now.status !== flight.status || now.value !== flight.value) { draft.error = error || 'it was answered elsewhere meanwhile.'; return; }
    if (draft.wish && ratingSame(draft.wish, flight)) draft.wish = null;
    else if (!draft.timer && ratingDiffers(draft)) ratingSend(form, draft);
  } else if (flight && error) ratingFail(form, draft, error);
  if (draft.wish && !draft.flight && ratingSame(draft.wish, draft.held)) Object.assign(draft, { wish: null, error: '' });
}

function ratingHead(form) {
  const { part, value } = form, options = JSON.stringify(value.methods);
  if (part.method.dataset.options !== options) {
    part.method.replaceChildren(...value.methods.map((each) => new Option(each.title, each.id)));
    part.method.dataset.options = options;
  }
  if (!part.questions.inert) part.method.value = value.method;
  part.about.textContent = [value.target && `for the class ${value.target}`, value.reader && `rated by ${value.reader}`].filter(Boolean).join(', ');
  const rated = (value.progress || {}).rated || 0, cases = (value.progress || {}).cases || 0;
  part.bar.max = Math.max(1, cases);
  part.bar.value = rated;
  part.progress.textContent = `${rated} of ${cases} cases rated`;
}

// Builds the questions once; later values only fill them, so that a cursor or a focus is never lost.
function ratingLayout(form) {
  const layout = JSON.stringify(form.questions);
  if (layout === form.layout) return;
  form.layout = layout;
  form.part.questions.replaceChildren(...form.questions.map((question) => ratingQuestion(form, question)));
  form.part.guide.replaceChildren(...form.questions.map((question) => {
    const block = ratingNode('div', ''), points = ratingNode('ol', '');
    points.append(...question.anchors.map((text, index) => {
      const item = ratingNode('li', '');
      item.append(ratingNode('b', '', String(index + 1)), ratingNode('span', '', text));
      return item;
    }));
    block.append(ratingNode('h3', '', question.text), points);
    return block;
  }));
}

function ratingQuestion(form, question) {
  const block = ratingNode('div', 'lbr-question'), top = block.appendChild(ratingNode('div', 'lbr-top'));
  const title = top.appendChild(ratingNode('h3', '', question.text)), state = top.appendChild(ratingNode('p', 'lbr-state'));
  block.dataset.question = question.id;
  title.id = `lbr-${++ratingQuestion.count}`;
  state.setAttribute('role', 'status');
  state.setAttribute('aria-live', 'polite');
  const scale = block.appendChild(ratingNode('div', 'lbr-scale'));
  scale.setAttribute('role', 'radiogroup');
  scale.setAttribute('aria-labelledby', title.id);
  question.anchors.forEach((text, index) => scale.append(ratingPoint(question.id, index + 1, String(index + 1), `${index + 1}, ${text}`)));
  scale.append(ratingPoint(question.id, 0, 'Cannot judge', 'Cannot judge'));
  block.append(ratingNode('p', 'lbr-anchor'));
  const label = block.appendChild(ratingNode('label', 'lbr-comment')), text = document.createElement('textarea');
  label.append(ratingNode('span', '', 'Comment'), text);
  Object.assign(text, { rows: 1, maxLength: RATING_LONGEST });
  text.setAttribute('aria-label', `Comment: ${question.text}`);
  ratingBindQuestion(form, question, block);
  return block;
}
ratingQuestion.count = 0;

function ratingPoint(question, point, text, name) {
  const button = ratingNode('button', '', text);
  button.type = 'button';
  Object.assign(button.dataset, { question, point: String(point) });
  button.setAttribute('role', 'radio');
  button.setAttribute('aria-label', name);
  return button;
}

function ratingBindQuestion(form, question, block) {
  const text = block.querySelector('textarea'), points = [...block.querySelectorAll('[data-point]')];
  text.addEventListener('input', () => ratingWrite(form, question.id, text.value));
  text.addEventListener('blur', () => { const draft = ratingDraft(form, question.id); if (draft.timer) ratingSend(form, draft); });
  const tell = (point) => ratingAnchor(form, block, point);
  for (const button of points) {
    button.addEventListener('mouseenter', () => tell(Number(button.dataset.point)));
    button.addEventListener('mouseleave', () => tell());
    button.addEventListener('focus', () => tell());
    button.addEventListener('blur', () => tell());
  }
  // Arrows move between the points without choosing one, so that no version is stored on the way.
  block.querySelector('.lbr-scale').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], here = points.indexOf(event.target);
    if (!step || here < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    points[(here + step + points.length) % points.length].focus();
  });
}

// The line below the scale: the point under the mouse, else the focused one, else the chosen one.
function ratingAnchor(form, block, hovered) {
  const question = form.questions.find((each) => each.id === block.dataset.question), line = block.querySelector('.lbr-anchor');
  if (!question) return;
  const focused = block.querySelector('[data-point]:focus-visible'), shown = ratingShown(ratingDraft(form, question.id));
  let point = shown.status === 'answered' ? shown.value : shown.status === 'cannot_judge' ? 0 : null;
  if (focused) point = Number(focused.dataset.point);
  if (hovered !== undefined) point = hovered;
  line.classList.toggle('is-idle', point === null);
  if (point === null) line.textContent = `1: ${question.anchors[0]}  …  ${question.anchors.length}: ${question.anchors[question.anchors.length - 1]}`;
  else line.textContent = point ? `${point}: ${question.anchors[point - 1]}` : 'Cannot judge: the answer counts as missing, not as a middle score';
}

function ratingFill(form, moved) {
  for (const { id } of form.questions) ratingState(form, ratingDraft(form, id), moved);
  ratingMark(form);
}

// Shows one draft: the point chosen, the comment unless the reader is typing in it, and whether it is stored.
function ratingState(form, draft, moved) {
  const block = ratingBlock(form, draft.place.question);
  if (!block || draft !== ratingDraft(form, draft.place.question)) return;
  const shown = ratingShown(draft), point = shown.status === 'answered' ? shown.value : shown.status === 'cannot_judge' ? 0 : null;
  const buttons = [...block.querySelectorAll('[data-point]')], focused = buttons.find((button) => button === document.activeElement);
  for (const button of buttons) {
    const on = point !== null && Number(button.dataset.point) === point;
    button.setAttribute('aria-checked', String(on));
    button.tabIndex = focused ? (button === focused ? 0 : -1) : on || (point === null && button === buttons[0]) ? 0 : -1;
  }
  const text = block.querySelector('textarea');
  if ((moved || document.activeElement !== text) && text.value !== shown.comment) text.value = shown.comment;
  ratingSay(block.querySelector('.lbr-state'), draft, text.value.length);
  ratingAnchor(form, block);
  ratingMark(form);
}

function ratingSay(line, draft, length) {
  const kind = draft.error ? 'is-failed' : draft.flight || ratingDiffers(draft) ? '' : draft.held.revision ? 'is-saved' : '';
  let text = '';
  if (draft.error) text = `Not saved: ${draft.error}`;
  else if (draft.wish && !draft.wish.status && draft.wish.comment) text = 'The comment is saved with your answer. Choose one.';
  else if (draft.flight || ratingDiffers(draft)) text = 'Saving …';
  else if (draft.held.revision) text = `Saved ${ratingClock(draft.held.saved_at)}`.trim() + (draft.versions > 1 ? `, changed, version ${draft.versions}` : '');
  if (length > RATING_LONGEST * 0.95) text += ` (${length} of ${RATING_LONGEST} characters)`;
  if (line.dataset.text === text) return;
  line.dataset.text = text;
  line.className = `lbr-state ${kind}`;
  line.textContent = text;
  if (!draft.error) return;
  const again = line.appendChild(ratingNode('button', '', 'Try again'));
  again.type = 'button';
  again.dataset.retry = draft.place.question;
}

function ratingClock(moment) {
  const date = new Date(moment), two = (number) => String(number).padStart(2, '0');
  return moment && !Number.isNaN(date.getTime()) ? [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':') : '';
}

// ---- keys ------------------------------------------------------------------------------------------------

// The question that a digit answers: the focused one, else the first without an answer.
function ratingCurrent(form) {
  const block = document.activeElement && document.activeElement.closest('.lbr-question');
  if (block && form.part.root.contains(block)) return block.dataset.question;
  const open = form.questions.find(({ id }) => !ratingShown(ratingDraft(form, id)).status);
  return open ? open.id : null;
}

function ratingMark(form) {
  if (!form.questions.length) return;
  const current = ratingCurrent(form);
  for (const block of form.part.questions.children) block.classList.toggle('is-current', block.dataset.question === current);
}

function ratingBlock(form, question) {
  return [...form.part.questions.children].find((block) => block.dataset.question === question);
}

// Runs before other listeners of the page, so that a digit rates and does nothing else as well.
function ratingKey(form, event) {
  if (!form.alive() || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const target = event.composedPath()[0], key = event.key.toLowerCase();
  if (!/^[0-5np]$/.test(key) || !form.questions.length || !ratingWantsKeys()) return;
  if (target instanceof Element && (target.isContentEditable || target.closest('textarea, select, input:not([type="checkbox"], [type="range"])'))) return;
  if (!form.part.root.getClientRects().length || document.querySelector('dialog[open]')) return;
  event.preventDefault();
  if (key === 'n' || key === 'p') { ratingStep(form, key === 'n' ? 'next' : 'previous'); return; }
  const question = !form.part.questions.inert && form.questions.find((each) => each.id === ratingCurrent(form));
  if (question && Number(key) <= question.anchors.length) ratingChoose(form, question.id, Number(key));
}

function ratingNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
