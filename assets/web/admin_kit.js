// Shared pieces of the administrators' pages: nodes, tables, bars, questions, and sections that are drawn anew only
// when what they show has changed, so that nothing flickers and nothing typed is lost.

const ADMIN_STATES = {
  queued: ['Waiting', 'busy'], running: ['Running', 'busy'], pausing: ['Pausing', 'busy'], paused: ['Paused', 'rest'],
  cancelling: ['Cancelling', 'busy'], cancelled: ['Cancelled', 'off'], failed: ['Failed', 'bad'], done: ['Done', 'good'],
  checking: ['Being checked', 'busy'], ready: ['Ready', 'good'], refused: ['Has errors', 'bad'],
  active: ['Active', 'good'], candidate: ['Candidate', 'rest'], available: ['Available', 'off'], retired: ['Retired', 'off'],
};

function adminNode(tag, name, ...inside) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (tag === 'button') node.type = 'button';
  adminAdd(node, inside);
  return node;
}

function adminAdd(node, inside) {
  for (const each of inside.flat()) {
    if (each === null || each === undefined || each === '') continue;
    node.append(each instanceof Node ? each : String(each));
  }
  return node;
}

function adminSet(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  return node;
}

// A page: `draw(page, value)` is called with every new value. Values without an answer leave the last answer in place.
function mountAdmin(element, getValue, send, server, draw) {
  const root = element.querySelector('.lba'), page = { root, send, server, parts: {}, value: {}, keep: {} };
  page.update = () => {
    if (!element.isConnected) return;
    const value = getValue();
    root.hidden = !value;
    if (!value || (page.isLate && page.isLate(value))) return;
    page.value = value;
    if (!page.told) root.prepend(page.told = adminSaidLine());
    adminSaid(page, 'page', page.told);
    draw(page, value);
    setTimeout(() => { // once the tab is in sight: a reload of the page then finds again what is open
      if (value.address && page.value === value && element.offsetParent) history.replaceState(history.state, '', `?tab=${value.address}`);
    }, 60);
  };
  element.panel = { update: page.update, page };
  page.update();
  return element.panel;
}

// A lasting part of a page, in the order in which parts are first asked for.
function adminPart(page, name, className, parent) {
  if (!page.parts[name]) page.parts[name] = (parent || page.root).appendChild(adminNode('section', className || 'lba-card'));
  return page.parts[name];
}

// Draws a part from `data` unless it shows just that already; the focus stays on the control of the same key.
function adminDraw(part, data, build) {
  const stamp = JSON.stringify(data === undefined ? null : data);
  if (part.adminStamp === stamp) return false;
  part.adminStamp = stamp;
  const held = part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const scrolled = [...part.querySelectorAll('[data-scroll]')].map((node) => [node.dataset.scroll, node.scrollTop]);
  const opened = new Map([...part.querySelectorAll('details[data-key]')].map((node) => [node.dataset.key, node.open]));
  part.replaceChildren(...[build(data)].flat().filter(Boolean));
  for (const node of part.querySelectorAll('details[data-key]')) {
    if (opened.has(node.dataset.key)) node.open = opened.get(node.dataset.key);
  }
  for (const [name, top] of scrolled) {
    const node = part.querySelector(`[data-scroll="${name}"]`);
    if (node) node.scrollTop = top;
  }
  if (held) [...part.querySelectorAll('[data-key]')].find((node) => node.dataset.key === held)?.focus({ preventScroll: true });
  return true;
}

// A button; with a reason it cannot be pressed, and the reason can be read.
function adminButton(label, act, { main, danger, reason, key, title } = {}) {
  const button = adminNode('button', [main && 'lbx-main', danger && 'lba-danger'].filter(Boolean).join(' '), label);
  adminSet(button, { disabled: Boolean(reason), title: reason || title || null, 'data-key': key || label });
  button.addEventListener('click', () => { if (!button.disabled) act(button); });
  return button;
}

function adminReason(text) {
  return text ? adminNode('p', 'lba-reason', text) : null;
}

function adminBadge(state) {
  const [words, kind] = ADMIN_STATES[state] || [state, 'off'];
  return adminNode('span', `lba-state is-${kind}`, words);
}

function adminHead(title, ...beside) {
  return adminNode('div', 'lba-head', adminNode('h2', '', title), adminNode('div', 'lba-actions', ...beside));
}

function adminEmpty(title, text) {
  return adminNode('div', 'lba-empty', adminNode('p', 'lba-empty-title', title), adminNode('p', '', text));
}

// A labelled control with a line of help and a line for what is wrong with it.
function adminField(label, control, help, extra) {
  const made = adminNode('div', `lba-field ${extra || ''}`), name = adminNode('label', '', label);
  control.id = control.id || `lba-${Math.random().toString(36).slice(2, 10)}`;
  name.htmlFor = control.id;
  const words = adminNode('p', 'lba-help', help || ''), wrong = adminNode('p', 'lba-wrong');
  words.id = `${control.id}-help`;
  wrong.id = `${control.id}-wrong`;
  words.hidden = !help;
  wrong.hidden = true;
  control.setAttribute('aria-describedby', `${words.id} ${wrong.id}`);
  made.append(name, control, words, wrong);
  made.control = control;
  made.say = (text) => {
    wrong.textContent = text || '';
    wrong.hidden = !text;
    adminSet(control, { 'aria-invalid': text ? 'true' : null });
  };
  return made;
}

function adminInput(key, { value, placeholder, numeric, kind } = {}) {
  const input = adminNode('input');
  Object.assign(input, { type: kind || 'text', value: value || '', placeholder: placeholder || '', autocomplete: 'off', spellcheck: false });
  adminSet(input, { 'data-key': key, inputmode: numeric ? 'decimal' : null });
  return input;
}

function adminSelect(key, choices, value) {
  const select = adminNode('select');
  select.dataset.key = key;
  adminChoices(select, choices, value);
  return select;
}

// Choices are [value, words, reason why it cannot be chosen]; what is chosen stays chosen while it is offered.
function adminChoices(select, choices, value) {
  const stamp = JSON.stringify(choices);
  if (select.adminStamp !== stamp) {
    const kept = select.value;
    select.adminStamp = stamp;
    select.replaceChildren(...choices.map(([id, words, reason]) => {
      const option = new Option(reason ? `${words} (${reason})` : words, id);
      option.disabled = Boolean(reason);
      return option;
    }));
    if (choices.some(([id, , reason]) => String(id) === kept && !reason)) select.value = kept;
  }
  if (value !== undefined && value !== null && select.value !== String(value)) select.value = String(value);
}

// A table that scrolls sideways within its card. Columns: [title, cell(row), class].
function adminTable(columns, rows, { key, chosen, choose, label } = {}) {
  const head = adminNode('tr', '', columns.map(([title, , kind]) => adminSet(adminNode('th', kind || '', title), { scope: 'col' })));
  const body = adminNode('tbody', '', rows.map((row) => {
    const line = adminNode('tr', '', columns.map(([, cell, kind]) => adminNode('td', kind || '', cell(row))));
    if (choose) {
      const id = key(row);
      line.classList.add('is-open');
      adminSet(line, { 'aria-selected': String(id) === String(chosen) ? 'true' : 'false', tabindex: 0, 'data-key': `row-${id}` });
      line.addEventListener('click', (event) => { if (!event.target.closest('button, a, input')) choose(id); });
      line.addEventListener('keydown', (event) => {
        if (event.target === line && (event.key === 'Enter' || event.key === ' ')) { event.preventDefault(); choose(id); }
      });
    }
    return line;
  }));
  const table = adminSet(adminNode('table', 'lba-table', adminNode('thead', '', head), body), { 'aria-label': label || null });
  return adminNode('div', 'lba-scroll', table);
}

// Facts as pairs of a name and a value, in columns.
function adminFacts(pairs) {
  const list = adminNode('dl', 'lba-facts');
  for (const [name, value, title] of pairs) {
    if (value === null || value === undefined || value === '') continue;
    const cell = adminNode('div', '', adminNode('dt', '', name), adminNode('dd', '', value));
    if (title) cell.title = title;
    list.append(cell);
  }
  return list;
}

// Counts as horizontal bars, largest first unless `sorted` is false.
function adminBars(title, counts, { sorted = true, most = 12 } = {}) {
  const pairs = Object.entries(counts || {}).filter(([, n]) => Number.isFinite(Number(n)));
  if (sorted) pairs.sort((a, b) => b[1] - a[1]);
  const shown = pairs.slice(0, most), total = pairs.reduce((sum, [, n]) => sum + Number(n), 0), top = Math.max(1, ...pairs.map(([, n]) => n));
  const rows = shown.map(([name, n]) => {
    const bar = adminNode('span', 'lba-bar', adminNode('i'));
    bar.firstChild.style.width = `${(100 * n) / top}%`;
    return adminSet(adminNode('li', '', adminSet(adminNode('span', 'lba-bar-name', name || 'not stated'), { title: name || null }), bar,
      adminNode('span', 'lba-bar-n', adminWhole(n), adminNode('small', '', total ? ` ${Math.round((100 * n) / total)} %` : ''))), {});
  });
  if (pairs.length > most) rows.push(adminNode('li', 'lba-more', `and ${pairs.length - most} more`));
  return adminNode('figure', 'lba-bars', adminNode('figcaption', '', title), rows.length ? adminNode('ul', '', rows) : adminNode('p', 'lbx-soft', 'Not stated.'));
}

function adminProgress(share, words) {
  const known = typeof share === 'number', box = adminNode('div', 'lba-progress'), bar = adminNode('div', 'lba-track', adminNode('i'));
  adminSet(bar, { role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': known ? Math.round(100 * share) : null, 'aria-label': words || 'Progress' });
  bar.firstChild.style.width = `${known ? Math.max(0, Math.min(100, 100 * share)) : 0}%`;
  return adminAdd(box, [bar, adminNode('span', 'lbx-number', known ? `${Math.round(100 * share)} %` : '')]);
}

// A question before something that changes what readers see or that cannot be undone; true when it is confirmed. With a
// `field` (its label) it asks for a reason as well, and gives that text; `optional` lets it be empty (a space then).
function adminAsk(page, { title, text, yes, danger, field, optional }) {
  return new Promise((resolve) => {
    const dialog = adminNode('dialog', 'lba-dialog'), head = adminNode('h2', '', title);
    head.id = 'lba-dialog-title';
    dialog.setAttribute('aria-labelledby', head.id);
    const close = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    const input = adminSet(adminNode('textarea'), { rows: 3, maxlength: 1000, 'data-key': 'reason' }), asked = field && adminField(field, input);
    const agree = () => {
      const reason = input.value.trim();
      if (field && !optional && !reason) { asked.say('Please give a reason; it is kept in the audit trail.'); input.focus(); return; }
      close(field ? reason || ' ' : true);
    };
    const no = adminButton('Cancel', () => close(false)), go = adminButton(yes, agree, { main: !danger, danger });
    dialog.append(head, ...[].concat(text).map((line) => adminNode('p', '', line)), ...(field ? [asked] : []), adminNode('div', 'lba-dialog-buttons', no, go));
    dialog.addEventListener('cancel', (event) => { event.preventDefault(); close(false); });
    page.root.append(dialog);
    dialog.showModal();
    (field ? input : no).focus();
  });
}

// What came of the last action of one form; `said` is {n, form, good, text}.
function adminSaid(page, form, node) {
  const said = page.value.said;
  if (!said || said.form !== form || page.keep[`said-${form}`] === said.n) return;
  page.keep[`said-${form}`] = said.n;
  adminTell(node, said.text, said.good);
}

// A success is said for a while, a refusal until the next attempt.
function adminTell(node, text, good) {
  clearTimeout(node.adminTimer);
  if (good && text) node.adminTimer = setTimeout(() => adminTell(node, ''), 9000);
  node.textContent = text || '';
  node.hidden = !text;
  node.className = `lba-said ${good ? 'is-good' : 'is-bad'}`;
}

function adminSaidLine() {
  const node = adminNode('p', 'lba-said');
  node.hidden = true;
  return adminSet(node, { role: 'status', 'aria-live': 'polite' });
}

function adminWhole(value) {
  return typeof value === 'number' ? Math.round(value).toLocaleString('en-GB').replaceAll(',', '\u202f') : '–';
}

function adminNumber(value, digits = 3) {
  return typeof value === 'number' && Number.isFinite(value) ? value.toFixed(digits).replace('-', '\u2212') : '–';
}

function adminSigned(value, digits = 3) {
  const text = adminNumber(value, digits);
  return typeof value === 'number' && value > 0 ? `+${text}` : text;
}

// A day and minute on this machine's clock.
function adminTime(iso) {
  const at = iso ? new Date(iso) : null;
  if (!at || Number.isNaN(at.getTime())) return '–';
  const two = (n) => String(n).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

function adminMinutes(minutes) {
  if (typeof minutes !== 'number' || !Number.isFinite(minutes)) return '–';
  if (minutes < 1) return `${Math.max(0, Math.round(60 * minutes))} s`;
  if (minutes < 90) return `${minutes.toFixed(minutes < 10 ? 1 : 0)} min`;
  return `${Math.floor(minutes / 60)} h ${Math.round(minutes % 60)} min`;
}

function adminMegabytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
}

// The list of runs of one kind, and what can be done with the one that is open.
function adminRuns(part, runs, chosen, page, { empty, title }) {
  adminDraw(part, [runs, chosen], () => [
    adminHead(title),
    runs.length ? adminTable([
      ['Name', (run) => adminNode('span', 'lba-strong', run.title)],
      ['State', (run) => adminBadge(run.state)],
      ['Progress', (run) => adminRunShare(run), 'lba-wide'],
      ['Started', (run) => adminTime(run.started || run.created), 'lba-num'],
      ['By', (run) => run.owner],
    ], runs, { key: (run) => run.id, chosen, choose: (id) => page.send('choose', { run: Number(id) }), label: title }) : adminEmpty(...empty),
  ]);
}

function adminRunShare(run) {
  if (run.state === 'queued') return adminNode('span', 'lbx-soft', run.position ? `number ${run.position} in the queue` : 'next');
  if (run.state === 'done') return adminNode('span', 'lbx-soft', `took ${adminMinutes(run.minutes)}`);
  if (run.state === 'failed' || run.state === 'cancelled') return adminNode('span', 'lbx-soft', `ended at ${Math.round(100 * (run.share || 0))} %`);
  return adminProgress(run.share, run.title);
}

// Pause or resume, and cancel, so far as they make sense now; with the reason where they cannot be.
function adminRunButtons(page, run, { pausable = true } = {}) {
  const tell = (what) => () => page.send(what, { run: run.id }), words = (ADMIN_STATES[run.state] || [run.state])[0].toLowerCase();
  const verb = run.state === 'failed' ? 'Discard' : 'Cancel';
  const stop = async () => {
    const sure = await adminAsk(page, {
      title: `${verb} “${run.title}”?`, yes: `${verb} the run`, danger: true,
      text: ['What was computed so far is not made into a model. The served model is not affected.'],
    });
    if (sure) tell('cancel')();
  };
  const why = (may, verb) => (may ? '' : `A run that is ${words} cannot be ${verb}.`);
  if (['done', 'cancelled'].includes(run.state)) return [];
  return [
    pausable && run.can_resume && adminButton('Resume', tell('resume'), { main: true }),
    pausable && !run.can_resume && adminButton('Pause', tell('pause'), { reason: why(run.can_pause, 'paused') }),
    run.state === 'failed' && !run.can_cancel ? null : adminButton(verb, stop, { danger: true, reason: why(run.can_cancel, 'cancelled') }),
  ].filter(Boolean);
}

// The end of what a run printed; it stays at its end unless somebody scrolled up.
function adminLog(text, failed) {
  const lines = adminNode('pre', 'lba-log', text || 'Nothing was printed.');
  adminSet(lines, { tabindex: 0, 'data-scroll': 'log', 'data-key': 'log', 'aria-label': 'Last lines of the log' });
  const box = adminNode('details', 'lba-fold', adminNode('summary', '', failed ? 'Last lines before the failure' : 'Log, last lines'), lines);
  box.dataset.key = 'log-fold';
  box.open = Boolean(failed);
  return box;
}
