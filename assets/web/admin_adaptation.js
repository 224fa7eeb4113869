// Test-time adaptation: ask for one, watch it, read what it changed, and accept or discard it.

const ADMIN_SHOWN_CASES = 400;

function drawAdminAdaptation(page, value) {
  adminRuns(adminPart(page, 'runs'), value.runs, value.chosen, page, {
    title: 'Adaptations', empty: ['No model was adapted here yet.', 'Choose unlabelled cases of the new hospital below. The result is a candidate; the served model stays as it is.'],
  });
  const open = value.detail, part = adminPart(page, 'detail');
  part.hidden = !open;
  if (!open) return;
  const head = adminPart(page, 'head', 'lba-plain', part), outcome = adminPart(page, 'outcome', 'lba-plain', part);
  const changed = adminPart(page, 'changed', 'lba-plain', part), log = adminPart(page, 'log', 'lba-plain', part);
  adminDraw(head, open.run, () => [
    adminHead(open.run.title, adminBadge(open.run.state), ...adminRunButtons(page, open.run, { pausable: false })),
    open.run.state === 'done' ? null : adminProgress(open.run.share, open.run.title), open.run.state === 'done' ? null : adminRunBanner(open.run),
  ]);
  adminDraw(outcome, open.outcome, () => (open.outcome ? adminOutcome(page, open.outcome) : []));
  adminDraw(changed, open.outcome && [open.outcome.run_id, open.outcome.changed], () => (open.outcome ? adminChangedCases(page, open.outcome) : []));
  log.hidden = Boolean(open.outcome);
  adminDraw(log, [open.log, open.run.state], () => (open.outcome ? [] : adminLog(open.log, open.run.state === 'failed')));
}

function adminOutcome(page, out) {
  const table = adminTable([
    ['', ([name, , , help]) => adminNode('span', 'lba-strong', name, help ? adminNode('small', 'lba-under', help) : '')],
    ['Before', ([, each, digits]) => adminBound(each.before, each.before_low, each.before_high, digits), 'lba-num'],
    ['After', ([, each, digits]) => adminBound(each.after, each.after_low, each.after_high, digits), 'lba-num'],
    ['Change', ([, each, digits]) => (typeof each.before === 'number' && typeof each.after === 'number' ? adminSigned(each.after - each.before, digits) : '–'), 'lba-num'],
  ], [
    ['Mean entropy', out.entropy, 3, 'of the answers on the target cases; lower is surer, not better'],
    ['Accuracy on the target cases', out.accuracy, 3, 'only where their truth is known'],
    ['Sensitivity on the source buffer', out.sensitivity, 3, 'share of labelled cancers still found'],
    ['Accuracy on the source buffer', out.source_accuracy, 3, 'on labelled cases that the model knew before'],
  ].filter(([, each], place) => place !== 1 || typeof each.before === 'number'), { label: 'Before and after' });
  return [
    adminVerdict(out),
    adminFacts([
      ['Model', out.model], ['Method', out.method.toUpperCase()], ['Target cases', adminWhole(out.cases)], ['Steps done', adminWhole(out.steps)],
      ['Learnt from', typeof out.kept === 'number' ? `${Math.round(100 * out.kept)} % of the cases` : ''],
      ['Divergence on the source', typeof out.divergence === 'number' ? `${out.divergence < 5e-5 ? 'under 0.0001' : adminNumber(out.divergence, 4)} nats` : ''],
    ]),
    adminNode('div', 'lba-twocol', table, adminHistogramPair(out.histogram_before, out.histogram_after)),
    out.notes.length ? adminNode('ul', 'lba-notes', out.notes.map((each) => adminNode('li', '', each))) : null,
    adminDecision(page, out),
  ];
}

function adminVerdict(out) {
  if (out.rolled_back) return adminNode('div', 'lba-banner is-bad', adminNode('p', '', adminNode('b', '', 'Rolled back by the guard. ')), adminNode('p', '', out.rolled_back), adminNode('p', '', 'The weights are those from before; there is nothing to accept.'));
  if (out.accepted) return adminNode('p', 'lba-banner is-good', `Accepted as candidate ${out.accepted}.`);
  if (out.discarded) return adminNode('p', 'lba-banner', 'Discarded.');
  if (!out.changed.length) return adminNode('p', 'lba-banner', 'The guards let it pass. No case gets another answer than before.');
  return adminNode('p', 'lba-banner', `The guards let it pass. ${out.changed.length === 1 ? 'One case now gets' : `${adminWhole(out.changed.length)} of ${adminWhole(out.cases)} cases now get`} another answer. Read the changes before you accept it.`);
}

function adminBound(value, low, high, digits) {
  const bounds = typeof low === 'number' && typeof high === 'number';
  return adminNode('span', '', adminNumber(value, digits), bounds ? adminNode('small', 'lba-under', `${adminNumber(low, digits)} to ${adminNumber(high, digits)}`) : '');
}

function adminHistogramPair(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])], top = Math.max(1, ...Object.values(before), ...Object.values(after));
  const bar = (n, kind) => {
    const made = adminNode('span', `lba-bar ${kind}`, adminNode('i'));
    made.firstChild.style.width = `${(100 * (n || 0)) / top}%`;
    return made;
  };
  return adminNode('figure', 'lba-bars lba-pairs', adminNode('figcaption', '', 'Leading class of the target cases'), adminNode('ul', '', names.map((name) => adminNode('li', '',
    adminSet(adminNode('span', 'lba-bar-name', name), { title: name }),
    adminNode('span', 'lba-two', bar(before[name], 'is-before'), bar(after[name], 'is-after')),
    adminNode('span', 'lba-bar-n', `${adminWhole(before[name] || 0)} → ${adminWhole(after[name] || 0)}`)))),
  adminNode('p', 'lba-key', adminNode('i', 'is-before'), 'before', adminNode('i', 'is-after'), 'after'));
}

function adminDecision(page, out) {
  if (!out.can_accept) return null;
  const name = adminInput('candidate', { value: `${out.model}-${out.method}-${out.run_id}` });
  const accept = async () => {
    const sure = await adminAsk(page, { title: 'Accept as a candidate?', yes: 'Accept', text: [`The adapted weights become the model “${name.value.trim()}”. It is not in use before you activate it on the Models page.`] });
    if (sure) page.send('accept', { run: out.run_id, name: name.value.trim() });
  };
  const discard = async () => {
    const sure = await adminAsk(page, { title: 'Discard this adaptation?', yes: 'Discard', danger: true, text: ['The adapted weights are deleted. The model that it started from stays as it is.'] });
    if (sure) page.send('discard', { run: out.run_id });
  };
  return adminNode('div', 'lba-decision', adminField('Name of the candidate', name), adminNode('div', 'lba-actions', adminButton('Accept as candidate', accept, { main: true }), adminButton('Discard', discard, { danger: true })));
}

function adminChangedCases(page, out) {
  if (out.rolled_back && !out.changed.length) return [];
  const list = adminNode('ul', 'lba-cases', out.changed.map((each) => {
    const image = adminNode('img');
    Object.assign(image, { alt: `Case ${each.case_id}`, width: 96, height: 96 });
    image.dataset.case = each.case_id;
    return adminNode('li', '', image, adminNode('div', '', adminNode('b', '', each.case_id),
      adminNode('p', '', `${each.before} `, adminNode('span', 'lbx-number lbx-soft', `${Math.round(100 * each.before_share)} %`)),
      adminNode('p', 'lba-now', `→ ${each.after} `, adminNode('span', 'lbx-number lbx-soft', `${Math.round(100 * each.after_share)} %`))));
  }));
  if (out.changed.length) {
    page.server.changed_pictures(out.run_id).then((answer) => {
      for (const image of list.querySelectorAll('img')) {
        const png = (answer.pictures || {})[image.dataset.case];
        if (png) image.src = `data:image/png;base64,${png}`;
        else image.classList.add('is-missing');
      }
    }).catch(() => { for (const image of list.querySelectorAll('img')) image.classList.add('is-missing'); });
  }
  return [adminNode('h3', 'lba-sub', `Cases with another answer than before: ${adminWhole(out.changed.length)}`), out.changed.length ? list : adminNode('p', 'lbx-soft', 'None. Probabilities may have moved, but no leading class has.')];
}

function drawAdminAdaptationForm(page, value) {
  const part = adminPart(page, 'form');
  if (!part.said) adminAdaptationFrame(page, part);
  adminChoices(part.model, value.models.map((each) => [each.name, each.words, each.why]));
  adminChoices(part.source, [['phantoms', 'Synthetic phantoms'], ...value.datasets.map((each) => [String(each.id), each.name, each.why])]);
  adminDraw(part.methods, value.methods, () => value.methods.map(([id, title], place) => {
    const radio = adminNode('input');
    Object.assign(radio, { type: 'radio', name: 'lba-method', value: id, checked: place === 0 });
    radio.dataset.key = `method-${id}`;
    return adminNode('label', 'lba-choice', radio, adminNode('span', '', title));
  }));
  if (adminDraw(part.cases, value.cases, () => adminCaseBoxes(value.cases))) part.count();
  adminSaid(page, 'adaptation', part.said);
}

function adminCaseBoxes(cases) {
  if (!cases.length) return adminEmpty('There are no cases.', 'Upload images of the new hospital on the Upload page first.');
  return cases.slice(0, ADMIN_SHOWN_CASES).map(([id, label]) => {
    const box = adminNode('input');
    Object.assign(box, { type: 'checkbox', value: id });
    box.dataset.key = `case-${id}`;
    return adminNode('label', 'lba-choice', box, adminNode('span', '', label));
  });
}

function adminAdaptationFrame(page, part) {
  part.said = adminSaidLine();
  part.model = adminSelect('model', []);
  part.source = adminSelect('source', []);
  part.steps = adminInput('steps', { value: '20', numeric: true });
  part.methods = adminSet(adminNode('div', 'lba-choices'), { role: 'radiogroup', 'aria-label': 'Method' });
  part.cases = adminSet(adminNode('div', 'lba-checks'), { role: 'group', 'aria-label': 'Target cases', 'data-scroll': 'cases' });
  const search = adminInput('search', { placeholder: 'Search', kind: 'search' }), counted = adminNode('span', 'lbx-soft lbx-number'), steps = adminField('Steps', part.steps, 'Most portions of cases that the method learns from.');
  search.setAttribute('aria-label', 'Search the cases');
  const boxes = () => [...part.cases.querySelectorAll('input')], seen = () => boxes().filter((box) => !box.closest('label').hidden);
  const begin = adminButton('Start adaptation', () => {
    const chosen = boxes().filter((box) => box.checked).map((box) => box.value), number = Number(part.steps.value);
    const isWhole = Number.isInteger(number) && number >= 1 && number <= 1000;
    steps.say(isWhole ? '' : 'A whole number from 1 to 1000, please.');
    if (!isWhole || !chosen.length) return;
    adminTell(part.said, 'Being started…', true);
    const method = part.methods.querySelector('input:checked');
    page.send('begin', { model: part.model.value, cases: chosen, method: method ? method.value : '', steps: number, source: part.source.value });
  }, { main: true });
  const why = adminReason('Choose at least one case first.');
  part.count = () => {
    const n = boxes().filter((box) => box.checked).length;
    counted.textContent = `${adminWhole(n)} of ${adminWhole(boxes().length)} chosen`;
    adminSet(begin, { disabled: !n });
    why.hidden = n > 0;
  };
  search.addEventListener('input', () => {
    const words = search.value.trim().toLowerCase();
    for (const box of boxes()) box.closest('label').hidden = !box.closest('label').textContent.toLowerCase().includes(words);
  });
  part.cases.addEventListener('change', part.count);
  part.append(
    adminHead('New adaptation'),
    adminNode('p', 'lbx-soft', 'The model learns from images of another hospital without their diagnoses, by becoming surer of its own answers. Only its normalisation layers move, on a copy. Guards take it back where it forgets what it knew.'),
    adminNode('div', 'lba-twocol',
      adminNode('div', '', adminField('Model', part.model), adminNode('p', 'lba-label', 'Method'), part.methods, steps, adminField('Labelled cases for the guard', part.source, 'The source buffer, on which nothing may get worse.')),
      adminNode('div', '', adminNode('p', 'lba-label', 'Target cases, without labels'),
        adminNode('div', 'lba-actions', search,
          adminButton('Choose all', () => { for (const box of seen()) box.checked = true; part.count(); }), adminButton('None', () => { for (const box of seen()) box.checked = false; part.count(); }), counted),
        part.cases)),
    adminNode('div', 'lba-actions', begin, why), part.said,
  );
}
