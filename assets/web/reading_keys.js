// Keys: digits answer and move on, n and p, ctrl+enter, ?, and alt with a digit for the window presets of the viewer.

function rrWantsKeys() {
  try { return localStorage.getItem('lightbox.keys') !== 'off'; } catch (error) { return true; }
}

function rrTyping(event) {
  const target = event.composedPath()[0];
  return target instanceof Element && (target.isContentEditable || Boolean(target.closest('textarea, select, input:not([type="checkbox"], [type="range"])')));
}

// room: {form, hand(), skip(step), help(), viewer}. Runs before the viewer's own keys.
function rrKeys(room) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.metaKey) return;
    const open = document.querySelector('dialog[open]');
    if (open) { if (event.key === '?' && open === room.helpDialog) { event.preventDefault(); open.close(); } return; }
    if (event.ctrlKey && event.key === 'Enter') { if (room.form || room.onward) { event.preventDefault(); room.hand(); } return; }
    if (event.ctrlKey) return;
    if (event.altKey) { rrPreset(room, event); return; }
    if (event.key === 'Escape' && room.form && room.form.marking.armed) { event.preventDefault(); room.form.marking.arm(''); return; }
    if (rrTyping(event) || event.repeat) return;
    if (event.key === '?') { event.preventDefault(); room.help(); return; }
    if (!rrWantsKeys() || !room.form) return;
    const key = event.key.toLowerCase();
    if (key === 'n' || key === 'p') { event.preventDefault(); room.skip(key === 'n' ? 'next' : 'previous'); return; }
    if (/^[0-9]$/.test(key)) { event.preventDefault(); rrDigit(room.form, Number(key)); }
  }, { capture: true });
}

function rrDigit(form, digit) {
  const field = form.locked || form.panel.inert ? null : rrCurrent(form);
  if (!field) return;
  const { question } = field, value = digit || question.low === 0 ? rrByDigit(question, digit) : undefined;
  if (value !== undefined && ['scale', 'choice'].includes(question.kind)) form.change(question.id, { status: 'answered', value, reason: '' });
  else if (digit === 0 && question.cannot_judge) form.change(question.id, { status: 'cannot_judge', value: null, marks: null, text: '' });
  else return;
  rrOnward(form, field);
}

// alt+1 … alt+9 choose a window of the list in the viewer.
function rrPreset(room, event) {
  const digit = /^Digit([1-9])$/.exec(event.code), list = document.querySelector('.rr-viewer [data-set="preset"]');
  if (!digit || !list || !room.viewer) return;
  event.preventDefault();
  const option = list.options[Number(digit[1]) - 1];
  if (!option || list.matches(':disabled')) return;
  list.value = option.value;
  list.dispatchEvent(new Event('change', { bubbles: true }));
}

function rrHelp() {
  const dialog = rrNode('dialog', 'lbx rr-help', '', document.body), list = rrNode('dl', '');
  dialog.setAttribute('aria-label', 'Keys of the reading room');
  rrNode('h2', '', 'Keys', dialog);
  dialog.append(list);
  for (const [key, text] of [
    ['1 to 9', 'Answer the marked question and go on to the next'], ['0', 'Cannot judge, where it is offered'],
    ['Ctrl+Enter', 'Hand in, or go on'], ['N, P', 'Next reading, previous reading'], ['Tab, arrows', 'Move between questions and points'],
    ['Esc', 'Stop marking the image'], ['Alt+1, 2, 3', 'Window presets of the image'], ['T', 'Overlay on or off'], ['H (hold)', 'Hide the overlay'],
    ['C', 'Compare without and with overlay'], ['I', 'Invert the grey scale'], ['W, R', 'Window tool, ruler'], ['+, −, =', 'Zoom in, zoom out, fit'], ['?', 'This list'],
  ]) {
    rrNode('dt', '', key, list);
    rrNode('dd', '', text, list);
  }
  const label = rrNode('label', '', '', dialog), box = rrNode('input', '', '', label);
  box.type = 'checkbox';
  box.checked = rrWantsKeys();
  label.append(' Use single-key shortcuts');
  box.addEventListener('change', () => { try { localStorage.setItem('lightbox.keys', box.checked ? 'on' : 'off'); } catch (error) { /* a private window keeps nothing */ } });
  rrButton('Close', () => dialog.close(), rrNode('p', '', '', dialog));
  return dialog;
}
