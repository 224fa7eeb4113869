// Design: the conditions (arms) in which each case is read, and warm-up cases.

const STUDY_CONDITION_GROUPS = [
  ['image', 'Without the model', 'The image alone.'], ['prediction', 'With the prediction', 'The image and the class the model names.'],
  ['explanation', 'With an explanation', 'Image, prediction and the heat map of one method. Readers see neutral letters, never the name.'],
  ['decoy', 'With a decoy', 'A map that explains nothing. If decoys are rated like explanations, the ratings do not follow the content.'],
];

function studyConditions(page) {
  const { draft } = page.keep, { choices } = page.value, may = studyMay(page, 'conditions'), chosen = new Set(draft.arms.map((arm) => arm.id));
  const toggle = (arm, on) => {
    const now = draftOf(page);
    now.arms = on ? [...now.arms, structuredClone(arm)] : now.arms.filter((each) => each.id !== arm.id);
    studyChanged(page);
  };
  const group = ([kind, title, help]) => adminSet(adminNode('div', 'lbs-conditions', adminNode('h4', '', title), adminNode('p', 'lbx-soft', help),
    choices.conditions.filter((arm) => arm.kind === kind).map((arm) => studyBox(arm.title, chosen.has(arm.id), (on) => toggle(arm, on), { key: `arm-${arm.id}`, reason: may ? '' : 'Conditions are frozen.' }))), { role: 'group', 'aria-label': title });
  return studyFold('fold-conditions', '4  Conditions', draft.arms.length ? draft.arms.map((arm) => arm.title).join(', ') : 'none chosen yet', true,
    adminNode('div', 'lbs-two', STUDY_CONDITION_GROUPS.map(group)), studyArmOrder(page, may));
}

function studyArmOrder(page, may) {
  const { arms } = page.keep.draft;
  if (arms.length < 2) return null;
  const move = (at, by) => {
    const now = draftOf(page).arms, [arm] = now.splice(at, 1);
    now.splice(at + by, 0, arm);
    studyChanged(page);
  };
  return adminNode('div', 'lbs-order', adminNode('h4', '', 'Order of a sequential reading'), adminNode('p', 'lbx-soft', 'Used only where the conditions of a case follow each other (section 6); otherwise the order is drawn for each reader.'),
    adminNode('ol', '', arms.map((arm, n) => adminNode('li', '', adminNode('span', '', `${n + 1}. ${arm.title}`), studyMover(arm.title, n, arms.length, move, may)))));
}

function studyMover(name, at, count, move, may) {
  const why = may ? '' : 'This is frozen.';
  const up = adminButton('↑', () => move(at, -1), { key: `up-${name}`, reason: why || (at ? '' : 'It is the first.') }), down = adminButton('↓', () => move(at, 1), { key: `down-${name}`, reason: why || (at < count - 1 ? '' : 'It is the last.') });
  adminSet(up, { 'aria-label': `${name}: earlier` });
  adminSet(down, { 'aria-label': `${name}: later` });
  return adminNode('span', 'lbs-mover', up, down);
}

function studyTraining(page) {
  const { draft } = page.keep, may = studyMay(page, 'training');
  const rows = draft.training.map((each, n) => studyTrainingRow(page, each, n, may));
  const add = adminButton('Add a warm-up case', () => {
    const now = draftOf(page), used = new Set([...now.cases, ...now.training.map((each) => each.case)]), free = page.value.choices.cases.find((each) => !used.has(each.id));
    now.training.push({ case: free ? free.id : '', arm: now.arms.length ? now.arms[0].id : '', expected: {}, feedback: '' });
    studyChanged(page);
  }, { reason: may ? '' : 'The study is closed.' });
  return studyFold('fold-training', '7  Warm-up cases', draft.training.length ? `${draft.training.length}, with feedback` : 'none', false,
    adminNode('p', 'lbx-soft', 'Read first, in this order, with feedback after each; never part of the analysis. Five to ten are usual. Take cases that are not read in the study.'), rows, add);
}

function studyTrainingRow(page, each, n, may) {
  const { draft } = page.keep, { choices } = page.value, at = () => draftOf(page).training[n];
  const frozen = !may || (page.value.state === 'open' && n < page.value.protocol.training.length);
  const pick = (key, label, options, field) => {
    const select = adminSelect(`${key}-${n}`, options, each[field]);
    adminSet(select, { disabled: frozen });
    select.addEventListener('change', () => { at()[field] = select.value; studyChanged(page); });
    return adminField(label, select);
  };
  const feedback = adminSet(adminNode('textarea'), { rows: 2, 'data-key': `feedback-${n}`, disabled: frozen, maxlength: 2000 });
  feedback.value = each.feedback;
  feedback.addEventListener('input', () => { at().feedback = feedback.value; studyChanged(page, false); });
  const scales = draft.questions.filter((question) => question.per_case && ['scale', 'choice'].includes(question.kind));
  const expected = scales.map((question) => studyExpected(page, question, at, n, frozen));
  return adminNode('div', 'lbs-training', adminNode('div', 'lbs-training-head', adminNode('h4', '', `Warm-up ${n + 1}`), adminButton('Remove', () => { draftOf(page).training.splice(n, 1); studyChanged(page); }, { danger: true, key: `drop-training-${n}`, reason: frozen ? 'This is frozen.' : '' })),
    adminNode('div', 'lbs-two', pick('training-case', 'Case', [['', 'Choose a case'], ...choices.cases.map((one) => [one.id, draft.cases.includes(one.id) ? `${one.id} (also read in the study)` : one.id])], 'case'), pick('training-arm', 'Shown with', draft.arms.map((arm) => [arm.id, arm.title]), 'arm')),
    expected.length ? adminNode('div', 'lbs-expected', adminNode('p', 'lba-label', 'Answers that count as right (none marked: any)'), expected) : null,
    adminField('Feedback after it is handed in', feedback));
}

function studyExpected(page, question, at, n, frozen) {
  const points = studyPoints(question);
  return adminSet(adminNode('div', 'lbs-expected-row', adminNode('span', '', question.text), adminNode('span', 'lbs-points', points.map(([score, words]) => {
    const isOn = (at().expected[question.id] || []).includes(score), point = adminNode('button', '', words);
    adminSet(point, { 'aria-pressed': isOn ? 'true' : 'false', disabled: frozen, 'data-key': `expected-${n}-${question.id}-${score}` });
    point.addEventListener('click', () => {
      const now = at().expected, kept = (now[question.id] || []).filter((one) => one !== score);
      if (!isOn) kept.push(score);
      if (kept.length) now[question.id] = kept.sort((a, b) => a - b);
      else delete now[question.id];
      studyChanged(page);
    });
    return point;
  }))), { role: 'group', 'aria-label': question.text });
}

function studyPoints(question) {
  if (question.kind === 'choice') return question.choices.map((words, n) => [n, words]);
  return Array.from({ length: Math.max(0, question.high - question.low + 1) }, (_, n) => [question.low + n, String(question.low + n)]);
}
