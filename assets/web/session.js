// Warns before the login ends, ends it when nobody is there, and locks the screen without losing the page.
// It asks GET /session, which is no use of the login. A page needs no more than this script; links to /lock lock at once.
(() => {
  if (globalThis.lightboxSession) return;
  const ASK_MS = 20000, TICK_MS = 1000, KEY = 'lightbox.active', STARTED = performance.now();
  const self = { state: null, asked: 0, active: Date.now(), owner: '', noted: 0, stayed: 0, kind: '', quiet: 0, dialog: null, busy: false };
  const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('lightbox-session') : null;

  // ---- what the server says ------------------------------------------------------------------------------

  async function ask(path, body) {
    const options = { headers: { accept: 'application/json' }, credentials: 'same-origin', cache: 'no-store' };
    if (body) Object.assign(options, { method: 'POST', body: JSON.stringify(body), headers: { ...options.headers, 'content-type': 'application/json' } });
    const answer = await fetch(path, options);
    return { status: answer.status, value: await answer.json().catch(() => ({})) };
  }

  async function look() {
    try {
      take(await ask('/session'));
    } catch (error) { /* not connected: what was known counts down, and the page keeps its own drafts */ }
  }

  function take({ status, value }) {
    if (status === 401) { leave('Your login has ended.'); return; }
    if (status !== 200) return;
    if (self.owner && value.name !== self.owner) { location.assign('/'); return; } // another account: not its page
    if (value.name) self.owner = value.name;
    Object.assign(self, { state: value, asked: Date.now() });
    if (value.locked) shut();
    else if (self.kind === 'locked' || self.kind === 'ended') close();
    tick();
  }

  function tell(kind) {
    if (channel) channel.postMessage({ kind });
  }

  // ---- whether somebody is there -------------------------------------------------------------------------

  function active() {
    const now = Date.now();
    self.active = now;
    if (now - self.noted < 5000) return;
    self.noted = now;
    try { localStorage.setItem(KEY, String(now)); } catch (error) { /* a private window keeps nothing */ }
  }

  function lastActive() {
    let elsewhere = 0;
    try { elsewhere = Number(localStorage.getItem(KEY)) || 0; } catch (error) { /* as above */ }
    return Math.max(self.active, elsewhere <= Date.now() ? elsewhere : 0);
  }

  function tick() {
    const { state } = self;
    if (!state || state.open || state.locked || self.kind === 'ended') return;
    const now = Date.now(), since = (now - self.asked) / 1000;
    const idle = state.idle_s - (now - lastActive()) / 1000, whole = state.absolute_left_s - since;
    const server = state.idle_left_s - since;
    if (server < 0.75 * state.idle_s && lastActive() > self.stayed && idle > state.warn_s) stay();
    if (Math.min(idle, whole) <= 0) end(whole <= 0 ? 'too long' : 'idle');
    else if (whole <= state.warn_s && self.quiet !== 1) warn(whole, true);
    else if (idle <= state.warn_s) warn(idle, false);
    else if (self.kind === 'warning') close();
  }

  async function stay() {
    if (self.busy) return;
    Object.assign(self, { busy: true, stayed: Date.now() });
    try {
      take(await ask('/session/stay', {}));
    } catch (error) { /* asked again later */ } finally { self.busy = false; }
  }

  async function end(reason) {
    const sentence = reason === 'idle' ? 'You were signed out because nothing was done for a while.' : 'Your login has ended, since it has lasted as long as one may.';
    leave(sentence);
    try { await ask('/session/end', { reason }); } catch (error) { /* the server ends it by itself */ }
    tell('left');
  }

  // ---- what is shown -------------------------------------------------------------------------------------

  function node(name, text, more) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    return Object.assign(made, more || {});
  }

  function link(text, address, target) {
    const made = node('a', text, { href: address });
    if (target) Object.assign(made, { target, rel: 'noopener' });
    return made;
  }

  function open(kind, title, ...parts) {
    if (!self.dialog) {
      self.dialog = node('dialog', '', { className: 'lbx-session' });
      self.dialog.addEventListener('cancel', (event) => { event.preventDefault(); if (self.kind === 'warning') here(); });
      self.dialog.addEventListener('close', () => { if (self.kind === 'locked' || self.kind === 'ended') self.dialog.showModal(); });
    }
    const { dialog } = self, heading = node('h2', title, { id: 'lbx-session-title' });
    dialog.setAttribute('aria-labelledby', heading.id);
    dialog.classList.toggle('is-shut', kind !== 'warning');
    document.documentElement.classList.toggle('lbx-shut', kind !== 'warning');
    dialog.replaceChildren(heading, ...parts);
    self.kind = kind;
    if (!dialog.isConnected) document.body.append(dialog);
    if (!dialog.open) dialog.showModal();
    const first = dialog.querySelector('input, button, a');
    if (first) first.focus();
    return dialog;
  }

  function close() {
    self.kind = '';
    document.documentElement.classList.remove('lbx-shut');
    if (self.dialog) self.dialog.close();
  }

  function warn(left, isWhole) {
    const seconds = Math.max(0, Math.ceil(left)), minutes = Math.floor(seconds / 60);
    const time = minutes ? `${minutes}:${String(seconds % 60).padStart(2, '0')} minutes` : `${seconds} seconds`;
    if (self.kind !== 'warning') {
      const text = node('p', '', { className: 'lbx-session-text' }), row = node('nav');
      const button = node('button', isWhole ? 'Go on until then' : 'Stay signed in', { type: 'button' });
      button.addEventListener('click', () => { if (isWhole) { self.quiet = 1; close(); } here(); });
      row.append(button, link('Sign out now', '/logout'));
      const told = node('p', '', { className: 'lbx-session-told' });
      told.setAttribute('role', 'status');
      open('warning', 'Your login is about to end', text, told, row);
    }
    const text = self.dialog.querySelector('.lbx-session-text');
    text.textContent = isWhole ? `This login has lasted long and ends in ${time}. Please finish, and sign in again.`
      : `Nothing was done for a while. You will be signed out in ${time}.`;
  }

  function here() {
    active();
    stay();
    if (self.kind === 'warning') close();
  }

  function shut() {
    if (self.kind === 'locked') return;
    const { state } = self, form = node('form', '', { method: 'dialog' }), problem = node('p'), row = node('nav');
    problem.setAttribute('role', 'alert');
    const parts = [node('p', `Locked by ${(state && state.user) || 'the user'}. The page stays as it is.`)];
    if (!state || state.has_password !== false) {
      const label = node('label', 'Password', { htmlFor: 'lbx-session-password' });
      const field = node('input', '', { id: label.htmlFor, type: 'password', autocomplete: 'current-password', required: true, maxLength: 256 });
      const button = node('button', 'Unlock', { type: 'submit' });
      form.append(label, field, problem);
      form.addEventListener('submit', (event) => { event.preventDefault(); unlock(field, button, problem); });
      row.append(button);
    }
    if (state && state.provider) row.append(link('Unlock through your organisation', state.provider, '_blank'));
    row.append(link('Sign out', '/logout'));
    form.append(row);
    open('locked', 'The screen is locked', ...parts, form);
  }

  async function lock() {
    try {
      const { status, value } = await ask('/lock', {});
      if (status === 200) { take({ status, value }); tell('locked'); } else if (status === 401) leave('Your login has ended.');
      else if (value.error) open('warning', 'The screen was not locked', node('p', value.error, { className: 'lbx-session-text' }), dismiss());
    } catch (error) {
      location.assign('/lock');
    }
  }

  function dismiss() {
    const button = node('button', 'Close', { type: 'button' });
    button.addEventListener('click', close);
    return button;
  }

  async function unlock(field, button, problem) {
    button.disabled = true;
    problem.textContent = '';
    try {
      const { status, value } = await ask('/unlock', { password: field.value });
      field.value = '';
      if (status === 200) { active(); take({ status, value }); tell('unlocked'); } else if (status === 401) leave('Your login has ended.');
      else problem.textContent = value.error || 'The screen could not be unlocked.';
    } catch (error) {
      problem.textContent = 'Lightbox cannot be reached; please try again in a moment.';
    }
    button.disabled = false;
    if (field.isConnected) field.focus();
  }

  // Signed out: what was shown is hidden, and the page goes on where it is once somebody signs in again elsewhere.
  function leave(sentence) {
    if (self.kind === 'ended') return;
    const row = node('nav'), address = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    row.append(link('Sign in again', address));
    open('ended', 'You are signed out', node('p', sentence), row);
  }

  // ---- wiring --------------------------------------------------------------------------------------------

  function keys(event) {
    if (!self.dialog || !self.dialog.open) return;
    event.stopImmediatePropagation();
    if (event.key === 'Escape' && self.kind !== 'warning') event.preventDefault(); // a second one would close it
  }

  function clicked(event) {
    const wanted = event.target instanceof Element && event.target.closest('a[href="/lock"]');
    if (!wanted || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    lock();
  }

  function style() {
    if (document.querySelector('link[href="/static/session.css"]')) return;
    document.head.append(node('link', '', { rel: 'stylesheet', href: '/static/session.css' }));
  }

  style();
  for (const name of ['keydown', 'keyup', 'keypress']) globalThis.addEventListener(name, keys, true);
  for (const name of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart']) {
    document.addEventListener(name, active, { capture: true, passive: true });
  }
  document.addEventListener('click', clicked, true);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
  if (channel) channel.addEventListener('message', () => look());
  setInterval(() => { if (!self.state || !self.state.open) look(); }, ASK_MS);
  setInterval(tick, TICK_MS);
  look();
  globalThis.lightboxSession = { lock, look, stay, since: STARTED, get state() { return self.state; }, get kind() { return self.kind; } };
})();
