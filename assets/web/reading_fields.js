// Fields: one question on the page. field.fill(answer) shows an answer; the reader's changes go to change(part).

let rrFieldCount = 0;

function rrField(question, change, marking) {
  const block = rrNode('div', 'rr-question'), id = `rr-q${++rrFieldCount}`;
  block.dataset.question = question.id;
  const title = rrNode('h3', '', question.text, block);
  title.id = id;
  if (!question.required) rrNode('span', 'rr-optional', ' (optional)', title);
  if (question.help) rrNode('p', 'lbx-soft rr-help-text', question.help, block);
  const field = { question, block, title, fills: [] }, row = rrNode('div', 'rr-row', '', block);
  const kind = RR_MARKS.includes(question.kind) ? 'mark' : question.kind;
  ({ scale: rrChoices, choice: rrChoices, number: rrNumber, text: rrTextField, mark: rrMarkField })[kind](field, row, change, marking);
  if (question.cannot_judge) rrCannot(field, row, change);
  field.error = rrNode('p', 'rr-error', '', block);
  field.error.id = `${id}-error`;
  field.error.hidden = true;
  field.before = rrNode('p', 'lbx-soft rr-before', '', block);
  field.before.hidden = true;
  field.fill = (answer) => field.fills.forEach((fill) => fill(rrAnswer(answer)));
  field.focus = () => { const node = block.querySelector('[tabindex="0"]:not(:disabled), input:not(:disabled), textarea:not(:disabled)'); if (node) node.focus(); };
  field.complain = (text) => { field.error.textContent = text; field.error.hidden = !text; block.classList.toggle('is-wrong', Boolean(text)); };
  return field;
}

// Buttons of a scale or a choice, one tab stop; arrows move without choosing.
function rrChoices(field, row, change) {
  const { question } = field, points = rrPoints(question), group = rrNode('div', question.kind === 'scale' ? 'rr-scale' : 'rr-choice', '', row);
  group.setAttribute('role', 'radiogroup');
  group.setAttribute('aria-labelledby', field.title.id);
  const line = rrNode('p', 'rr-anchor', '', field.block);
  let chosen = null;
  const buttons = points.map((point) => {
    const button = rrButton(point.text, () => change({ status: 'answered', value: point.value, reason: '' }), group);
    button.setAttribute('role', 'radio');
    if (point.anchor) button.setAttribute('aria-label', `${point.text}, ${point.anchor}`);
    return button;
  });
  const tell = (at) => {
    const shown = at !== undefined ? at : buttons.findIndex((button) => button === document.activeElement && button.matches(':focus-visible'));
    const here = shown >= 0 ? shown : points.findIndex((point) => point.value === chosen), first = points[0], last = points[points.length - 1];
    line.hidden = !first || !first.anchor;
    line.classList.toggle('is-idle', here < 0);
    if (first) line.textContent = here >= 0 ? `${points[here].text}: ${points[here].anchor}` : `${first.text}: ${first.anchor}  …  ${last.text}: ${last.anchor}`;
  };
  buttons.forEach((button, i) => {
    button.addEventListener('mouseenter', () => tell(i));
    for (const name of ['mouseleave', 'focus', 'blur']) button.addEventListener(name, () => tell());
  });
  group.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], here = buttons.indexOf(event.target);
    if (!step || here < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    buttons[(here + step + buttons.length) % buttons.length].focus();
  });
  field.fills.push(({ status, value }) => {
    chosen = status === 'answered' ? value : null;
    const at = points.findIndex((point) => point.value === chosen);
    buttons.forEach((button, i) => {
      button.setAttribute('aria-checked', String(i === at));
      button.tabIndex = i === Math.max(0, at) ? 0 : -1;
    });
    tell();
  });
}

function rrNumber(field, row, change) {
  const { question } = field, input = rrNode('input', 'rr-number', '', row), bounded = question.high - question.low <= 1000;
  Object.assign(input, { type: 'number', step: 'any', min: question.low, max: question.high });
  input.setAttribute('aria-labelledby', field.title.id);
  const say = (text) => change(text.trim() === '' ? { status: '', value: null } : { status: 'answered', value: Number(text) });
  input.addEventListener('input', () => { if (!input.validity.badInput) say(input.value); });
  if (question.unit) rrNode('span', 'lbx-soft', question.unit, row);
  const slide = bounded ? rrNode('input', 'rr-slide', '', row) : null;
  if (slide) {
    Object.assign(slide, { type: 'range', min: question.low, max: question.high, step: question.high - question.low > 20 ? 1 : 'any' });
    slide.setAttribute('aria-label', `${question.text}, slider`);
    slide.addEventListener('input', () => say(slide.value));
    input.placeholder = `${question.low}–${question.high}`;
  }
  field.fills.push(({ status, value }) => {
    const text = status === 'answered' && value !== null ? String(value) : '';
    if (document.activeElement !== input) input.value = text;
    if (slide) { slide.value = text || String((question.low + question.high) / 2); slide.classList.toggle('is-unset', !text); }
  });
}

function rrTextField(field, row, change) {
  const text = rrNode('textarea', '', '', row);
  Object.assign(text, { rows: 2, maxLength: 10000 });
  text.setAttribute('aria-labelledby', field.title.id);
  text.addEventListener('input', () => change({ status: text.value.trim() ? 'answered' : '', text: text.value }));
  field.fills.push((answer) => { if (document.activeElement !== text) text.value = answer.text; });
}

// A mark is drawn on the image, or written as numbers: pixels from the left, pixels from the top.
function rrMarkField(field, row, change, marking) {
  const { question } = field, { kind } = question;
  const words = { point: 'Set the point', box: 'Draw the box', outline: 'Draw the outline' };
  const arm = rrButton(words[kind], () => marking.arm(marking.armed === question.id ? '' : question.id), row, 'rr-arm');
  const numbers = rrNode('label', 'rr-numbers', kind === 'point' ? 'or x, y' : kind === 'box' ? 'or left, top, right, bottom' : 'or x, y, x, y, …', row);
  const input = rrNode('input', '', '', numbers), clear = rrButton('Clear', () => change({ status: '', marks: null }), row);
  Object.assign(input, { type: 'text', inputMode: 'decimal', autocomplete: 'off', spellcheck: false });
  input.setAttribute('aria-label', `${question.text}: pixels from the left and from the top, ${kind === 'box' ? 'of two corners' : 'separated by commas'}`);
  input.addEventListener('change', () => {
    const marks = rrFromNumbers(kind, input.value, marking.place());
    if (!marks && input.value.trim()) { field.complain(`Please write ${kind === 'box' ? 'four numbers' : kind === 'point' ? 'two numbers' : 'at least three pairs of numbers'} that lie on the image.`); return; }
    change(marks ? { status: 'answered', marks } : { status: '', marks: null });
  });
  field.fills.push(({ status, marks }) => {
    clear.disabled = !marks;
    if (document.activeElement !== input) input.value = status === 'answered' && marks ? marks.points.map((point) => point.map((part) => Math.round(part)).join(', ')).join(', ') : '';
  });
  field.armed = (on) => { arm.setAttribute('aria-pressed', String(on)); field.block.classList.toggle('is-armed', on); };
  field.armed(false);
}

function rrCannot(field, row, change) {
  const button = rrButton('Cannot judge', () => change({ status: 'cannot_judge', value: null, marks: null, text: '' }), row, 'rr-cannot');
  const label = rrNode('label', 'rr-why', 'Why (optional)', field.block), why = rrNode('input', '', '', label);
  Object.assign(why, { type: 'text', maxLength: 500 });
  why.addEventListener('input', () => change({ reason: why.value }));
  button.setAttribute('aria-pressed', 'false');
  button.title = 'The answer counts as missing, not as a middle score (0)';
  field.fills.push(({ status, reason }) => {
    const on = status === 'cannot_judge';
    button.setAttribute('aria-pressed', String(on));
    label.hidden = !on;
    if (document.activeElement !== why) why.value = reason;
    const line = field.block.querySelector('.rr-anchor');
    if (line && on) line.hidden = true;
  });
}
