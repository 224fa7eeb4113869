// Design: what is asked. Ready forms come and go as a whole; own questions are made and changed one by one.

const STUDY_KINDS = [['scale', 'Scale with anchors'], ['choice', 'Choice'], ['number', 'Number'], ['text', 'Text'], ['point', 'Point on the image'], ['box', 'Box on the image'], ['outline', 'Outline on the image']];
const STUDY_NEW = { id: '', text: '', kind: 'scale', help: '', low: 1, high: 5, anchors: [], choices: [], ordered: true, unit: '', required: true, cannot_judge: true, per_case: true, group: '' };

function studyQuestions(page) {
  const { draft } = page.keep, may = studyMay(page, 'questions'), why = may ? '' : 'Questions are frozen since the first answer.';
  const each = draft.questions.filter((question) => question.per_case).length;
  return studyFold('fold-questions', '5  Questions', draft.questions.length ? `${each} for each case, ${draft.questions.length - each} at the end` : 'none yet', true,
    studyForms(page, why),
    draft.questions.length ? adminNode('ol', 'lbs-questions', studyQuestionLines(page, may)) : adminEmpty('Nothing is asked yet.', 'Add a ready form above, or a question of your own.'),
    adminButton('Add a question of your own', () => {
      const now = draftOf(page), id = studyFreeName(now, 'question');
      now.questions.push({ ...structuredClone(STUDY_NEW), id, text: '' });
      page.keep.editing = id;
      studyChanged(page);
    }, { reason: why }));
}

function studyForms(page, why) {
  const { draft } = page.keep, { choices } = page.value, there = (form) => form.questions.every((one) => draft.questions.some((question) => question.id === one.id));
  return adminSet(adminNode('div', 'lbs-forms', adminNode('p', 'lba-label', 'Ready forms'), choices.forms.map((form) => {
    const on = there(form), button = adminButton(form.title, () => {
      const now = draftOf(page), ids = new Set(form.questions.map((one) => one.id));
      now.questions = now.questions.filter((question) => !ids.has(question.id));
      if (!on) now.questions.push(...structuredClone(form.questions));
      studyChanged(page);
    }, { key: `form-${form.id}`, reason: why, title: form.source });
    return adminSet(button, { 'aria-pressed': on ? 'true' : 'false' });
  })), { role: 'group', 'aria-label': 'Ready forms' });
}

// One line for each question; a ready form that is asked once, at the end, is one line that folds.
function studyQuestionLines(page, may) {
  const { questions } = page.keep.draft, isFolded = (one) => one && one.group && !one.per_case;
  return questions.map((question, n) => {
    if (!isFolded(question)) return studyQuestion(page, question, n, may);
    if (isFolded(questions[n - 1]) && questions[n - 1].group === question.group) return null;
    const form = page.value.choices.forms.find((one) => one.id === question.group), all = questions.filter((one) => one.group === question.group && !one.per_case);
    const lines = questions.map((one, at) => (all.includes(one) ? studyQuestion(page, one, at, may) : null)).filter(Boolean);
    return adminNode('li', 'lbs-form-line', studyFold(`form-${question.group}`, form ? form.title : question.group, `${all.length} items, asked once, at the end`, false, adminNode('ol', 'lbs-questions', lines)));
  }).filter(Boolean);
}

function studyFreeName(draft, stem) {
  let n = 1;
  while (draft.questions.some((question) => question.id === `${stem}_${n}`)) n += 1;
  return `${stem}_${n}`;
}

function studyQuestion(page, question, n, may) {
  const { draft } = page.keep, isEdited = page.keep.editing === question.id, kind = (STUDY_KINDS.find(([id]) => id === question.kind) || ['', question.kind])[1];
  const move = (at, by) => {
    const now = draftOf(page).questions, [one] = now.splice(at, 1);
    now.splice(at + by, 0, one);
    studyChanged(page);
  };
  const told = [kind, question.kind === 'scale' || question.kind === 'number' ? `${question.low} to ${question.high}${question.unit ? ` ${question.unit}` : ''}` : '', question.kind === 'choice' ? question.choices.join(' / ') : '', question.required ? '' : 'optional', question.per_case ? '' : 'asked once, at the end'].filter(Boolean).join(' · ');
  return adminNode('li', isEdited ? 'is-edited' : '', adminNode('div', 'lbs-question-line',
    adminNode('div', 'lbs-question-words', adminNode('span', question.text ? '' : 'lbs-none', question.text || 'Without words yet'), adminNode('small', '', told)),
    adminNode('span', 'lba-actions',
      adminSet(adminButton(isEdited ? 'Close' : 'Edit', () => { page.keep.editing = isEdited ? '' : question.id; studyDrawAll(page); }, { key: `edit-${n}`, reason: may || isEdited ? '' : 'Questions are frozen since the first answer.' }), { 'aria-expanded': isEdited ? 'true' : 'false' }),
      studyMover(question.text || question.id, n, draft.questions.length, move, may),
      adminSet(adminButton('Remove', () => { draftOf(page).questions.splice(n, 1); studyChanged(page); }, { danger: true, key: `drop-${n}`, reason: may ? '' : 'Questions are frozen.' }), { 'aria-label': `Remove: ${question.text || question.id}` }))),
  isEdited ? studyQuestionForm(page, n) : null);
}

function studyQuestionForm(page, n) {
  const at = () => draftOf(page).questions[n], question = at();
  const change = (name, value, redraw = false) => { at()[name] = value; studyChanged(page, redraw); };
  const text = (name, label, help, rows) => {
    const input = rows ? adminSet(adminNode('textarea'), { rows, 'data-key': `q-${name}` }) : adminInput(`q-${name}`);
    input.value = question[name];
    adminSet(input, { maxlength: 1000 });
    input.addEventListener('input', () => change(name, input.value));
    return adminField(label, input, help);
  };
  const number = (name, label) => {
    const input = adminInput(`q-${name}`, { value: String(question[name]), numeric: true }), field = adminField(label, input);
    input.addEventListener('change', () => {
      const value = Number(input.value.replace(',', '.'));
      field.say(Number.isFinite(value) && input.value.trim() ? '' : 'Please give a number.');
      if (Number.isFinite(value) && input.value.trim()) change(name, value, true);
    });
    return field;
  };
  const lines = (name, label, help, rows) => {
    const input = adminSet(adminNode('textarea'), { rows, 'data-key': `q-${name}` });
    input.value = question[name].join('\n');
    input.addEventListener('input', () => change(name, input.value.split('\n').map((line) => line.trim()).filter(Boolean)));
    return adminField(label, input, help);
  };
  const kind = adminSelect('q-kind', STUDY_KINDS, question.kind);
  kind.addEventListener('change', () => change('kind', kind.value, true));
  const id = adminInput('q-id', { value: question.id }), name = adminField('Short name in the export', id, 'Lower-case letters, digits and “_”.');
  id.addEventListener('change', () => {
    const wanted = id.value.trim(), taken = draftOf(page).questions.some((one, place) => place !== n && one.id === wanted), good = /^[a-z][a-z0-9_]{0,39}$/.test(wanted);
    name.say(taken ? 'Another question has this name.' : good ? '' : 'Use lower-case letters, digits and “_”, beginning with a letter.');
    if (taken || !good) return;
    page.keep.editing = wanted;
    change('id', wanted, true);
  });
  const points = studyPoints({ kind: 'scale', low: question.low, high: question.high }).length;
  return adminNode('div', 'lbs-question-form', text('text', 'Question', '', 2), text('help', 'Guidance shown beside it', '', 2),
    adminNode('div', 'lbs-three', adminField('Kind of answer', kind), ...(['scale', 'number'].includes(question.kind) ? [number('low', 'Lowest'), number('high', 'Highest')] : []), question.kind === 'number' ? text('unit', 'Unit') : null, name),
    question.kind === 'scale' ? lines('anchors', `Anchors, one line for each of the ${points} points`, 'What each point means, from the lowest to the highest. Leave empty for none.', Math.min(8, Math.max(2, points))) : null,
    question.kind === 'choice' ? lines('choices', 'Choices, one a line', '', 4) : null,
    adminNode('div', 'lbs-checks', question.kind === 'choice' ? studyBox('The choices are in an order', question.ordered, (on) => change('ordered', on), { key: 'q-ordered' }) : null,
      studyBox('Must be answered', question.required, (on) => change('required', on), { key: 'q-required' }), studyBox('Offer “cannot judge”', question.cannot_judge, (on) => change('cannot_judge', on), { key: 'q-cannot' }),
      studyBox('Ask for each case (otherwise once, at the end)', question.per_case, (on) => change('per_case', on, true), { key: 'q-percase' })));
}
