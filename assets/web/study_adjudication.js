// Adjudication: items on which readers differ or many could not judge. Answers are shown without readers.

function drawStudyAdjudication(page, value) {
  const isThere = studyHead(page, value);
  const note = studyCard(page, 'note', '', !isThere), list = studyCard(page, 'list', '', !isThere);
  if (!isThere) return;
  adminDraw(note, [value.problem, value.flags.map((flag) => Boolean(flag.outcome)), value.study.state], () => studyAdjudicationNote(value));
  adminDraw(list, [value.flags, value.questions], () => studyFlags(page, value));
}

function studyAdjudicationNote(value) {
  const left = value.flags.filter((flag) => !flag.outcome).length;
  return [
    adminHead('Items to settle', adminNode('span', 'lbx-soft', value.flags.length ? `${value.flags.length - left} of ${value.flags.length} settled` : '')),
    adminNode('p', '', 'An item is listed where ratings lie two or more points apart, or where most readers gave none. The outcome is stored beside the answers, never over them; every statistic uses the readers’ own answers.'),
    value.problem ? adminNode('p', 'lba-banner', value.problem) : null,
  ];
}

function studyFlags(page, value) {
  if (value.problem) return [];
  if (!value.flags.length) return [adminEmpty('Nothing to settle.', 'No item has ratings that lie two or more points apart, and none is missing most of its ratings.')];
  const texts = Object.fromEntries(value.questions.map((each) => [each.id, each]));
  return value.flags.map((flag) => studyFlag(page, value.study, flag, texts[flag.question] || { id: flag.question, text: flag.question_text || flag.question, anchors: [], choices: [] }));
}

function studyFlag(page, study, flag, question) {
  const key = `${flag.case}-${flag.arm}-${flag.question}`, input = adminInput(`outcome-${key}`, { value: flag.outcome || '' }), why = adminInput(`why-${key}`, { value: flag.outcome_reason || '' });
  adminSet(input, { maxlength: 400 });
  adminSet(why, { maxlength: 1000 });
  const outcome = adminField('Outcome', studyScale(question) ? adminSelect(`outcome-${key}`, [['', 'not settled'], ...studyScale(question), ['cannot judge', 'cannot be judged']], flag.outcome || '') : input), reason = adminField('Reason', why);
  const save = () => {
    outcome.say(outcome.control.value ? '' : 'Please choose an outcome.');
    reason.say(why.value.trim() ? '' : 'Please give a reason.');
    if (outcome.control.value && why.value.trim()) page.send('decide', { study: study.id, case: flag.case, arm: flag.arm, question: flag.question, outcome: outcome.control.value, reason: why.value.trim() });
  };
  return adminNode('article', 'lbs-flag',
    adminNode('div', 'lbs-flag-head', adminNode('h3', 'lba-sub', `${flag.case} · ${flag.arm_title || flag.arm || 'no condition'}`), flag.outcome ? adminNode('span', 'lba-state is-good', 'Settled') : adminNode('span', 'lba-state is-rest', 'To settle')),
    adminNode('p', '', question.text), adminNode('p', 'lbx-soft', flag.reason),
    adminNode('ul', 'lbs-answers', (flag.answers || []).map((answer) => studyAnswer(answer, question))),
    adminNode('div', 'lbs-decide', outcome, reason, adminButton(flag.outcome ? 'Change the outcome' : 'Store the outcome', save, { key: `save-${key}`, main: !flag.outcome })));
}

function studyScale(question) {
  if (question.kind === 'choice') return question.choices.map((words, n) => [String(n), words]);
  if (question.kind !== 'scale') return null;
  return Array.from({ length: question.high - question.low + 1 }, (_, n) => [String(question.low + n), question.anchors[n] ? `${question.low + n} – ${question.anchors[n]}` : String(question.low + n)]);
}

function studyAnswer(answer, question) {
  const isPlain = typeof answer !== 'object' || answer === null, value = isPlain ? answer : answer.value, status = isPlain ? 'answered' : answer.status;
  let words = typeof value === 'number' ? String(question.kind === 'choice' ? question.choices[value] ?? value : value) : ({ cannot_judge: 'cannot judge', skipped: 'skipped', not_applicable: 'not applicable' })[status] || 'no answer';
  if (!isPlain && answer.text) words = answer.text;
  const comment = !isPlain && answer.comment;
  return adminNode('li', typeof value === 'number' ? '' : 'is-none', adminNode('b', '', words), comment ? adminNode('span', 'lbx-soft', ` “${comment}”`) : null);
}
