// The evidence panel, part 3: the settings of one method, which a reader may change and draw the map again.

function evidenceForm() {
  const node = evidenceNode('div', 'lbe-form'), list = node.appendChild(evidenceNode('div', '')), again = node.appendChild(evidenceNode('button', '', 'Draw with these settings'));
  again.dataset.do = 'again';
  node.evidence = { list, again };
  return node;
}

// One field a setting, of the kind of its default; what the reader is changing is left alone.
function evidenceFormFill(ev, form, method) {
  const names = Object.keys(method.defaults || {}), isBusy = EVIDENCE_BUSY.includes(method.state);
  evidenceHide(form, !names.length);
  evidenceEach(form.evidence.list, names, (name) => name, (name) => evidenceField(method.defaults[name]), (label, name) => {
    const { input, title } = label.evidence, value = { ...method.defaults, ...method.settings }[name];
    evidenceText(title, name.replaceAll('_', ' '));
    evidenceSet(label, 'title', `Default: ${evidenceWord(method.defaults[name]) || 'automatic'}`);
    evidenceData(input, 'setting', name);
    if (input.dataset.changed) return;
    if (input.type === 'checkbox') input.checked = Boolean(value);
    else if (input.value !== evidenceWord(value)) input.value = evidenceWord(value);
  });
  const waits = ev.asked.has(`run ${method.id}`);
  evidenceText(form.evidence.again, waits ? 'Asking\u2026' : 'Draw with these settings');
  evidenceSet(form.evidence.again, 'aria-disabled', waits || isBusy ? 'true' : '');
}

function evidenceWord(value) {
  return value === null || value === undefined ? '' : Array.isArray(value) ? value.join(', ') : String(value);
}

function evidenceField(given) {
  const label = evidenceNode('label', ''), title = label.appendChild(evidenceNode('span', '')), input = label.appendChild(evidenceNode('input', ''));
  if (typeof given === 'boolean') input.type = 'checkbox';
  else if (typeof given === 'number') Object.assign(input, { type: 'number', step: 'any' });
  else Object.assign(input, { type: 'text', placeholder: given === null ? 'automatic' : '', maxLength: 64, autocomplete: 'off', spellcheck: false });
  label.evidence = { input, title };
  return label;
}

// What the fields say, in the kinds that the method expects.
function evidenceChosen(form, method) {
  const chosen = {};
  for (const input of form.querySelectorAll('[data-setting]')) {
    const name = input.dataset.setting, given = method.defaults[name], text = input.value.trim();
    delete input.dataset.changed;
    if (typeof given === 'boolean') chosen[name] = input.checked;
    else if (typeof given === 'number') chosen[name] = text === '' ? given : Number(text);
    else if (typeof given === 'string') chosen[name] = text || given;
    else if (text === '') chosen[name] = null;
    else if (text.includes(',')) chosen[name] = text.split(',').map((each) => each.trim()).filter(Boolean);
    else chosen[name] = Number.isFinite(Number(text)) ? Number(text) : text;
  }
  return chosen;
}
