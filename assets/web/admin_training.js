// Training: the runs with their curves, and the form of a new one.

function drawAdminTraining(page, value) {
  adminRuns(adminPart(page, 'runs'), value.runs, value.chosen, page, {
    title: 'Training runs', empty: ['No model was trained here yet.', 'Choose a recipe below, and start. Training runs in a process of its own; you may close this page meanwhile.'],
  });
  const open = value.detail, part = adminPart(page, 'detail');
  part.hidden = !open;
  if (!open) return;
  const { run } = open, head = adminPart(page, 'head', 'lba-plain', part), curves = adminPart(page, 'curves', 'lba-charts', part);
  const result = adminPart(page, 'result', 'lba-plain', part), log = adminPart(page, 'log', 'lba-plain', part);
  adminDraw(head, [run, open.now], () => adminTrainingHead(page, run, open.now));
  curves.hidden = !open.curves.loss.length && !open.curves.validation.length;
  if (!curves.loss) {
    curves.loss = curves.appendChild(adminNode('div', 'lba-chart'));
    curves.measures = curves.appendChild(adminNode('div', 'lba-chart'));
  }
  adminChart(curves.loss, {
    title: 'Loss', x: 'step',
    series: [{ name: 'training', points: open.curves.loss }, { name: 'validation', points: open.curves.validation, dots: true }],
  });
  const measures = Object.entries(open.curves.measures);
  curves.measures.hidden = !measures.length;
  adminChart(curves.measures, {
    title: 'On validation cases', x: 'epoch', low: Math.min(0, ...measures.flatMap(([, points]) => points.map((p) => p[1]))), high: 1, mark: open.curves.best,
    series: measures.map(([name, points]) => ({ name, points, dots: points.length < 30 })),
  });
  adminDraw(result, [run.state, run.result, open.metrics], () => adminTrainingResult(page, run, open.metrics));
  result.hidden = !result.childElementCount;
  const text = log.querySelector('pre'), isAtEnd = !text || text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
  if (adminDraw(log, [open.log, run.state === 'failed', run.id], () => adminLog(open.log, run.state === 'failed')) && isAtEnd) {
    const fresh = log.querySelector('pre');
    fresh.scrollTop = fresh.scrollHeight;
    log.querySelector('details').addEventListener('toggle', () => { fresh.scrollTop = fresh.scrollHeight; });
  }
}

function adminTrainingHead(page, run, now) {
  const left = run.state === 'running' && run.share > 0.02 && run.minutes > 0 ? (run.minutes * (1 - run.share)) / run.share : null;
  return [
    adminHead(run.title, adminBadge(run.state), ...adminRunButtons(page, run)),
    ['queued', 'running', 'pausing', 'paused', 'cancelling'].includes(run.state) ? adminProgress(run.share, run.title) : null,
    adminRunBanner(run),
    adminFacts([
      ['Epoch', now.epoch ? `${adminWhole(now.epoch)} of ${adminWhole(now.epochs)}` : ''],
      ['Step', now.step ? `${adminWhole(now.step)} of ${adminWhole(now.steps)}` : ''],
      ['Images a second', typeof now.images_per_second === 'number' ? now.images_per_second.toFixed(1) : ''],
      ['Learning rate', now.learning_rate ? now.learning_rate.toExponential(1) : ''],
      ['Steps left out', now.skipped ? adminWhole(now.skipped) : '', 'Steps whose loss was not a finite number'],
      ['Time', adminMinutes(run.minutes)], ['Time left, about', left === null ? '' : adminMinutes(left)],
      ['Memory', run.memory_mb ? `${adminWhole(run.memory_mb)} MB` : ''],
      ['Started by', run.owner],
    ]),
  ];
}

// One sentence on where a run stands, where its state alone does not say it.
function adminRunBanner(run) {
  const place = run.position > 1 ? `number ${run.position} in the queue` : 'it is next';
  const words = {
    queued: `Waiting for its turn: ${place}. One run goes on at a time.`,
    pausing: 'The run stops after the present step and keeps what it has computed.',
    paused: 'Paused. Nothing is lost; resume it whenever you like, also after a restart of the server.',
    cancelling: 'The run ends after the present step.',
    cancelled: 'Cancelled. It gave no model; the served model is not affected.',
    failed: `${run.message || 'The run failed.'} The served model is not affected.${run.can_resume ? ' It can be resumed from its last checkpoint.' : ''}`,
  }[run.state];
  if (run.state === 'running' && !run.share) return adminNode('p', 'lbx-soft', 'Being prepared: the process starts and makes its cases ready. The first time, that can take minutes.');
  if (words) return adminNode('p', `lba-banner ${run.state === 'failed' ? 'is-bad' : ''}`, words);
  return run.message && run.state !== 'done' ? adminNode('p', 'lbx-soft', run.message) : null;
}

function adminTrainingResult(page, run, metrics) {
  if (run.state !== 'done') return [];
  if (!run.result) return [adminNode('p', 'lba-banner', 'The run has ended without a model.')];
  return [
    adminNode('div', 'lba-banner is-good',
      adminNode('p', '', adminNode('b', '', 'Candidate '), adminNode('b', '', run.result), ' is ready. It is not in use yet: compare it with the active model, then activate it.'),
      adminButton('Open on the Models page', () => page.send('model', { name: run.result }), { main: true })),
    metrics.length ? adminMetricTable(metrics) : null,
  ];
}

function adminMetricTable(metrics) {
  const groups = [...new Set(metrics.map((each) => each.group))], names = [...new Set(metrics.map((each) => each.title))];
  return adminTable([
    ['Measured on held-out cases', (name) => adminNode('span', 'lba-strong', name)],
    ...groups.map((group) => [group || 'Value', (name) => adminMetric(metrics.find((each) => each.group === group && each.title === name)), 'lba-num']),
  ], names, { label: 'Results on held-out cases' });
}

function adminMetric(each) {
  if (!each) return '–';
  if (each.whole) return adminWhole(each.value);
  const bounds = typeof each.low === 'number' && typeof each.high === 'number';
  return adminNode('span', '', adminNumber(each.value), bounds ? adminNode('small', '', ` ${adminNumber(each.low)} to ${adminNumber(each.high)}`) : '');
}

function drawAdminTrainingForm(page, value) {
  const part = adminPart(page, 'form');
  if (!part.said) adminTrainingFrame(page, part);
  adminChoices(part.recipe, value.recipes.map((name) => [name, name]), value.recipe);
  part.needsData = Boolean(value.needs_data);
  adminChoices(part.data, [['', part.needsData ? 'Choose a data set' : 'Synthetic phantoms, as the recipe says'], ...value.datasets.map((each) => [String(each.id), each.name, each.why])]);
  if (adminDraw(part.fields, [value.recipe, value.fields], () => adminRecipeSections(page, value.fields))) adminCountChanges(part);
  adminMessages(part, value);
  const busy = part.needsData && !part.data.value ? 'This recipe learns from a data set: choose one above.' : value.messages.length ? 'Correct the settings listed above first.' : value.busy ? `One run goes on at a time; this one will wait behind ${value.busy === 1 ? 'the other' : `${value.busy} others`}.` : '';
  part.note.textContent = busy;
  adminSaid(page, 'training', part.said);
}

function adminTrainingFrame(page, part) {
  part.said = adminSaidLine();
  part.recipe = adminSelect('recipe', []);
  part.name = adminInput('name', { placeholder: 'screening-first-try' });
  part.data = adminSelect('data', []);
  part.fields = adminNode('div', 'lba-sections');
  part.wrong = adminNode('ul', 'lba-problems');
  part.note = adminNode('p', 'lbx-soft');
  part.count = adminNode('span', 'lbx-soft');
  part.begin = adminButton('Start training', () => {
    if (!part.name.value.trim()) {
      adminTell(part.said, 'Please give the model a name.');
      part.name.focus();
      return;
    }
    adminTell(part.said, 'Being started…', true);
    page.send('begin', { ...adminTrainingAsk(part), name: part.name.value });
  }, { main: true });
  part.recipe.addEventListener('change', () => page.send('recipe', { recipe: part.recipe.value }));
  part.data.addEventListener('change', () => page.send('validate', adminTrainingAsk(part)));
  let waiting = 0;
  part.fields.addEventListener('input', () => {
    adminCountChanges(part);
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (part.isConnected) page.send('validate', adminTrainingAsk(part)); }, 500);
  });
  part.append(
    adminHead('New training'),
    adminNode('div', 'lba-formrow', adminField('Recipe', part.recipe), adminField('Name of the model', part.name, 'Letters, digits and hyphens.'), adminField('Cases', part.data)),
    adminNode('div', 'lba-head', adminNode('h3', 'lba-sub', 'Settings of the recipe'), adminNode('div', 'lba-actions', part.count,
      adminButton('Undo all changes', () => { for (const row of part.fields.querySelectorAll('.lba-setting')) row.restore(); part.fields.dispatchEvent(new Event('input')); }))),
    part.fields, part.wrong, adminNode('div', 'lba-actions', part.begin, part.note), part.said,
  );
}

const ADMIN_SECTIONS = {
  '': ['General', 'What the model is called and what its card says.'], data: ['Cases', 'Which cases are used, and how they are divided.'],
  optimiser: ['Optimiser', 'How long and how fast the network learns.'], objective: ['Objective', 'What the network is asked to get right.'],
  augmentation: ['Augmentation', 'How training images are varied.'], start: ['Starting weights', 'What the network knows before training.'],
  network: ['Network', 'Size and parts of the network.'],
};

const ADMIN_WORDS = {
  img_size: 'Image size', embed_dim: 'Embedding width', num_heads: 'Attention heads', adapter_dim: 'Adapter width', projection_dim: 'Projection width',
  ema: 'Averaging of weights (EMA)', pcgrad: 'PCGrad', mixstyle: 'MixStyle', clip: 'Gradient clipping', max_skipped: 'Most steps left out', mlp: 'MLP',
};

function adminRecipeSections(page, fields) {
  const groups = new Map();
  for (const each of fields) {
    const at = each.id.includes('.') ? each.id.split('.')[0] : '';
    groups.set(at, [...(groups.get(at) || []), each]);
  }
  const order = ['optimiser', 'data', 'objective', 'augmentation', 'network', 'start', ''].filter((at) => groups.has(at));
  return [...order, ...[...groups.keys()].filter((at) => !order.includes(at))].map((at) => {
    const [title, about] = ADMIN_SECTIONS[at] || [at, ''];
    const changed = adminNode('span', 'lba-changed'), fold = adminNode('details', 'lba-fold lba-section',
      adminNode('summary', '', adminNode('b', '', title), adminNode('span', 'lbx-soft', about), changed),
      adminNode('div', 'lba-settings', groups.get(at).map((each) => adminSetting(each))));
    fold.dataset.key = `section-${at}`;
    fold.open = at === 'optimiser';
    return fold;
  });
}

function adminSetting(each) {
  const name = each.id.split('.').pop(), text = each.text, choices = each.kind === 'switch' ? ['true', 'false'] : each.choices;
  const words = (choice) => ({ true: 'yes', false: 'no' }[choice] && each.kind === 'switch' ? { true: 'yes', false: 'no' }[choice] : choice);
  const long = !choices.length && text.length > 46;
  let control;
  if (choices.length) control = adminSelect(each.id, choices.map((choice) => [choice, words(choice)]), text);
  else if (long) {
    control = adminNode('textarea');
    Object.assign(control, { rows: 3, value: text });
    control.dataset.key = each.id;
  } else control = adminInput(each.id, { value: text, numeric: each.kind === 'whole' || each.kind === 'number' });
  const label = ADMIN_WORDS[name] || name.replaceAll('_', ' '), row = adminField(label.charAt(0).toUpperCase() + label.slice(1), control, each.help === 'Argument of the network.' ? '' : each.help, `lba-setting${long ? ' is-long' : ''}`);
  row.dataset.path = each.id;
  row.named = row.querySelector('label').textContent;
  row.isChanged = () => control.value.trim() !== text.trim();
  row.restore = () => { control.value = text; };
  row.was = adminNode('span', 'lba-was', `was ${text === '' ? 'empty' : each.kind === 'switch' ? words(text) : long ? 'otherwise' : text}`);
  row.querySelector('label').append(row.was);
  return row;
}

function adminCountChanges(part) {
  let all = 0;
  for (const fold of part.fields.querySelectorAll('.lba-section')) {
    let here = 0;
    for (const row of fold.querySelectorAll('.lba-setting')) {
      row.classList.toggle('is-changed', row.isChanged());
      here += row.isChanged() ? 1 : 0;
    }
    fold.querySelector('.lba-changed').textContent = here ? `${here} changed` : '';
    all += here;
  }
  part.count.textContent = all ? `${all} ${all === 1 ? 'setting differs' : 'settings differ'} from the recipe` : 'All as in the recipe';
}

function adminTrainingAsk(part) {
  const rows = [...part.fields.querySelectorAll('.lba-setting')].filter((row) => row.isChanged());
  return { recipe: part.recipe.value, dataset: part.data.value ? Number(part.data.value) : null, changes: Object.fromEntries(rows.map((row) => [row.dataset.path, row.control.value])) };
}

// Each message stands beside its field, and in a list above the button, since sections may be closed.
function adminMessages(part, value) {
  const reason = part.needsData && !part.data.value ? 'Choose a data set first.' : value.messages.length ? 'Correct the settings listed above first.' : '';
  adminSet(part.begin, { disabled: Boolean(reason), title: reason || null });
  const stamp = JSON.stringify([value.recipe, value.messages]);
  if (part.adminMessages === stamp) return;
  part.adminMessages = stamp;
  const rows = new Map([...part.fields.querySelectorAll('.lba-setting')].map((row) => [row.dataset.path, row]));
  for (const row of rows.values()) row.say('');
  const told = value.messages.map(([path, words]) => [path, rows.has(path) ? words.replaceAll(path, rows.get(path).named) : words]);
  for (const [path, words] of told) if (rows.has(path)) rows.get(path).say(words);
  part.wrong.replaceChildren(...told.map(([path, words]) => {
    const show = () => { const row = rows.get(path); row.closest('details').open = true; row.control.focus(); };
    return adminNode('li', '', adminNode('span', '', words), rows.has(path) ? adminButton('Show', show, { key: `show-${path}` }) : null);
  }));
  part.wrong.hidden = !value.messages.length;
}
