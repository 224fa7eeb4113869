// Form: the questions of one reading beside its image, with what is shown, the comment, and the button.

// given: {item, questions, begin, marking, changed(), hand(), skip(step)}; gives form.answers, form.take(), form.stop(text).
function rrForm(panel, given) {
  const { item } = given, form = { item, panel, answers: { ...given.begin.answers }, fields: [], marking: given.marking, locked: Boolean(item.read_only) };
  form.marking.form = form;
  panel.replaceChildren();
  panel.inert = false;
  rrFormHead(form, panel);
  form.list = rrNode('div', 'rr-questions', '', panel);
  form.fields = given.questions.map((question) => rrField(question, (part) => form.change(question.id, part), form.marking));
  form.list.append(...form.fields.map((field) => field.block));
  rrComment(form, given);
  rrFoot(form, given, panel);
  form.change = (id, part) => {
    if (form.locked) return;
    form.answers[id] = { ...rrAnswer(form.answers[id]), ...part };
    const field = form.fields.find((each) => each.question.id === id);
    field.complain('');
    rrShow(form);
    given.changed();
  };
  form.take = () => ({ answers: rrTold(given.questions, form.answers), comment: form.comment.value });
  form.list.addEventListener('focusin', () => rrMarkCurrent(form));
  form.list.addEventListener('focusout', () => setTimeout(() => rrMarkCurrent(form)));
  if (form.locked) for (const node of panel.querySelectorAll('.rr-questions :is(button, input, textarea)')) node.disabled = true;
  rrShow(form);
  return form;
}

function rrFormHead(form, panel) {
  const { item } = form, head = rrNode('div', 'rr-form-head', '', panel);
  rrNode('h2', '', rrIdentity(item), head);
  if (item.training) rrNode('span', 'lbx-badge', 'Training case', head);
  if (item.revision) rrNode('span', 'lbx-badge', item.revision > 1 ? `Handed in, version ${item.revision}` : 'Handed in', head);
  if (!item.prediction) return;
  const { probability } = item.prediction, box = rrNode('p', 'rr-prediction', '', panel);
  box.append('The model says: ', rrNode('strong', '', item.prediction.class), probability === null || probability === undefined ? '.' : ` (probability ${Number(probability).toFixed(2)}).`, ' It may be wrong.');
}

// Which reading this is, the same words over the image and over the questions.
function rrIdentity(item) {
  if (item.kind === 'closing') return 'Closing questions';
  const label = item.label ? ` · ${item.label}` : '', stage = item.stage > 1 ? ` · step ${item.stage}` : '';
  return `Reading ${item.position} of ${item.planned}${label}${stage}`;
}

function rrComment(form, given) {
  const label = rrNode('label', 'rr-comment', 'Comment', form.list), text = rrNode('textarea', '', '', label);
  Object.assign(text, { rows: 1, maxLength: 10000, value: given.begin.comment || '' });
  text.addEventListener('input', given.changed);
  form.comment = text;
}

function rrFoot(form, given, panel) {
  const foot = rrNode('div', 'rr-foot', '', panel), { item } = form;
  if (item.revision && !form.locked) {
    const label = rrNode('label', 'rr-comment', 'Reason for the change', foot);
    form.reason = rrNode('input', '', '', label);
    Object.assign(form.reason, { type: 'text', maxLength: 500, required: true });
  }
  const row = rrNode('div', 'lbx-row lbx-apart', '', foot), left = rrNode('div', 'lbx-row', '', row);
  form.count = rrNode('span', 'lbx-soft lbx-number', '', left);
  form.status = rrNode('span', 'lbx-soft lbx-number rr-saved', '', left);
  form.status.setAttribute('role', 'status');
  const right = rrNode('div', 'lbx-row', '', row);
  form.previous = rrButton('Previous', () => given.skip('previous'), right);
  form.previous.title = 'The reading before (P)';
  form.previous.disabled = !item.previous;
  if (form.locked || item.revision) {
    const next = rrButton('Next', () => given.skip('next'), right);
    next.title = 'On (N)';
  }
  if (!form.locked) {
    form.button = rrButton(item.revision ? 'Hand in the change' : 'Hand in', given.hand, right, 'lbx-main');
    form.button.title = 'Ctrl+Enter';
    form.button.setAttribute('aria-keyshortcuts', 'Control+Enter');
  }
}

// Draws the answers, the number of them, and which question a digit would answer.
function rrShow(form) {
  for (const field of form.fields) {
    field.fill(form.answers[field.question.id]);
    const before = (form.item.previous_stage || {})[field.question.id];
    field.before.hidden = !before;
    if (before) field.before.textContent = `Before: ${rrWords(field.question, before)}`;
  }
  const done = form.fields.filter(({ question }) => rrSettled(question, form.answers[question.id])).length;
  form.count.textContent = `${done} of ${form.fields.length} answered`;
  if (form.marking.draw) form.marking.draw();
  rrMarkCurrent(form);
}

// The question that a digit answers: the focused one, else the first that is open.
function rrCurrent(form) {
  const block = document.activeElement && document.activeElement.closest('.rr-question');
  const focused = block && form.fields.find((field) => field.block === block);
  return focused || form.fields.find(({ question }) => !rrSettled(question, form.answers[question.id])) || null;
}

function rrMarkCurrent(form) {
  const current = form.locked ? null : rrCurrent(form);
  for (const field of form.fields) field.block.classList.toggle('is-current', field === current);
}

// After a digit: the next open question, or the button that hands in.
function rrOnward(form, field) {
  const at = form.fields.indexOf(field), order = [...form.fields.slice(at + 1), ...form.fields.slice(0, at)];
  const next = order.find(({ question }) => !rrSettled(question, form.answers[question.id]));
  if (next) next.focus();
  else form.button.focus();
}

// True when everything asked for is there; otherwise says what is missing and goes there.
function rrComplete(form) {
  let first = null;
  for (const field of form.fields) {
    const problem = rrProblem(field.question, form.answers[field.question.id]);
    field.complain(problem);
    if (problem && !first) first = field;
  }
  if (first) { first.focus(); first.block.scrollIntoView({ block: 'nearest' }); }
  else if (form.reason && !form.reason.value.trim()) { form.reason.focus(); form.status.textContent = 'Please say why.'; return false; }
  return !first;
}
