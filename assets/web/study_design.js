// Design: the draft lives here until it is saved. With each pause in typing the server tells what would follow from it.

const STUDY_PAUSE_MS = 500;

function drawStudyDesign(page, value) {
  const isThere = studyHead(page, value);
  const body = adminPart(page, 'body', 'lbs-plan');
  body.hidden = !isThere;
  if (!isThere) return;
  if (!body.left) studyDesignFrame(page, body);
  studyTake(page, value);
  adminSaid(page, 'design', body.said);
  studyDrawAll(page);
}

function studyDesignFrame(page, body) {
  body.left = adminNode('div', 'lba-main');
  body.right = adminNode('aside', 'lbs-side');
  adminSet(body.right, { 'aria-label': 'What follows from the design' });
  body.said = adminSaidLine();
  body.bar = adminNode('div', 'lbs-savebar');
  body.right.append(body.bar, body.said, adminPart(page, 'follows', 'lba-card', body.right));
  body.append(body.left, body.right);
  for (const name of ['why', 'purpose', 'cases', 'readers', 'conditions', 'questions', 'layout', 'training', 'grras']) adminPart(page, name, name === 'why' ? 'lba-plain' : 'lbs-section', body.left);
  window.addEventListener('beforeunload', (event) => { if (page.root.isConnected && studyIsDirty(page)) event.preventDefault(); });
}

// Takes what is stored, unless somebody is changing it here; then only what was just saved counts. What is changed in one
// study waits while another one is looked at.
function studyTake(page, value) {
  const { keep } = page, stamp = `${value.study.id}:${value.version}`, now = JSON.stringify(value.protocol), kept = (keep.waiting = keep.waiting || {});
  const isOther = keep.study !== value.study.id, isNew = value.said && value.said.form === 'design' && keep.told !== value.said.n;
  const before = JSON.stringify(keep.draft);
  if (isOther && studyIsDirty(page)) kept[keep.study] = { draft: keep.draft, base: keep.base, version: keep.version };
  if (isOther && kept[value.study.id]) {
    Object.assign(keep, kept[value.study.id], { sent: '', editing: '' });
    delete kept[value.study.id];
  } else if (!isOther && isNew && value.said.good && keep.sent) {
    const typedOn = JSON.stringify(keep.draft) !== keep.sent;
    Object.assign(keep, { version: value.version, base: typedOn ? keep.sent : now, sent: '', draft: typedOn ? keep.draft : structuredClone(value.protocol) });
  } else if (isOther || keep.wantsFresh || !studyIsDirty(page)) {
    Object.assign(keep, { draft: structuredClone(value.protocol), base: now, version: value.version, sent: '', wantsFresh: false });
    if (isOther) Object.assign(keep, { editing: '', finding: '' });
  }
  if (isNew) keep.told = value.said.n;
  if (isOther || before !== JSON.stringify(keep.draft)) keep.epoch = (keep.epoch || 0) + 1;
  if (keep.stamp !== stamp || isOther) keep.follows = value.follows;
  Object.assign(keep, { study: value.study.id, stamp });
  if (isOther && studyIsDirty(page)) studyChanged(page, false);
}

function studyIsDirty(page) {
  return Boolean(page.keep.draft) && JSON.stringify(page.keep.draft) !== page.keep.base;
}

// What may still be changed: everything in a draft; in an open study cases, readers and training, and questions before the first answer.
function studyMay(page, what) {
  const { state, answered } = page.value;
  if (state === 'draft') return true;
  if (state !== 'open') return false;
  return ['cases', 'readers', 'training', 'grras'].includes(what) || (what === 'questions' && !answered);
}

function studyDrawAll(page) {
  const { draft, epoch } = page.keep, { choices, state, answered } = page.value;
  adminDraw(page.parts.why, [state, answered > 0], () => studyFrozen(state, answered));
  adminDraw(page.parts.purpose, [epoch, state], () => studyPurpose(page));
  adminDraw(page.parts.cases, [draft.cases, draft.groups, choices.cases, epoch, page.keep.finding, state], () => studyCases(page));
  adminDraw(page.parts.readers, [draft.readers, choices.readers, state], () => studyReaderChoice(page));
  adminDraw(page.parts.conditions, [draft.arms, choices.conditions, state], () => studyConditions(page));
  adminDraw(page.parts.questions, [draft.questions, choices.forms, page.keep.editing, state, answered > 0], () => studyQuestions(page));
  adminDraw(page.parts.layout, [epoch, draft.design.crossing, draft.design.order, draft.design.sessions, state], () => studyLayout(page));
  adminDraw(page.parts.training, [draft.training, draft.arms, draft.questions, draft.cases, state], () => studyTraining(page));
  adminDraw(page.parts.grras, [epoch, state], () => studyGrras(page));
  studyDrawSide(page);
}

function studyDrawSide(page) {
  studySaveBar(page);
  adminDraw(page.parts.follows, [page.keep.follows, page.keep.isChecking, page.keep.draft.readers], () => studyFollows(page));
}

function studyFrozen(state, answered) {
  if (state === 'draft') return null;
  const words = state === 'open' ? `The study is open: cases, readers and training cases can be added${answered ? '; questions are frozen since the first answer' : ', and questions changed until the first answer'}. The rest is frozen.` : 'The study is closed: the design can be read, and no longer changed. Copy the study to use the design again.';
  return adminNode('p', 'lba-banner', words);
}

// Something was changed: `redraw` where more than the text just typed changes on the page.
function studyChanged(page, redraw = true) {
  if (redraw) studyDrawAll(page);
  else studyDrawSide(page);
  clearTimeout(page.keep.timer);
  page.keep.timer = setTimeout(() => studyAskWhatFollows(page), STUDY_PAUSE_MS);
}

async function studyAskWhatFollows(page) {
  const asked = JSON.stringify(page.keep.draft), number = (page.keep.asking = (page.keep.asking || 0) + 1);
  page.keep.isChecking = true;
  studyDrawSide(page);
  const found = await page.server.check(JSON.parse(asked)).catch(() => ({ error: 'The server does not answer; the preview is not up to date.' }));
  if (number !== page.keep.asking) return;
  page.keep.isChecking = false;
  page.keep.follows = found.error ? { errors: [found.error], cautions: [], preview: (page.keep.follows || {}).preview } : found;
  studyDrawSide(page);
}

function studySaveBar(page) {
  const { body } = { body: page.parts.body }, dirty = studyIsDirty(page), readOnly = !['draft', 'open'].includes(page.value.state);
  adminDraw(body.bar, [dirty, readOnly, page.keep.version, page.keep.study], () => [
    adminNode('span', dirty ? 'lbs-dirty' : 'lbx-soft', readOnly ? 'Read only' : dirty ? 'Changes not saved yet' : `Saved, version ${page.keep.version}`),
    adminNode('span', 'lba-actions',
      adminButton('Undo changes', async () => {
        if (!(await adminAsk(page, { title: 'Undo all changes?', yes: 'Undo', danger: true, text: 'The design goes back to what was saved last.' }))) return;
        page.keep.wantsFresh = true;
        page.send('reload', {});
      }, { reason: dirty ? '' : 'There is nothing to undo.', key: 'undo' }),
      adminButton('Save', () => studySave(page), { main: dirty, reason: dirty && !readOnly ? '' : 'There is nothing to save.', key: 'save' })),
  ]);
}

function studySave(page) {
  page.keep.sent = JSON.stringify(page.keep.draft);
  page.send('save', { study: page.keep.study, version: page.keep.version, protocol: JSON.parse(page.keep.sent) });
}

function studyPurpose(page) {
  const { draft } = page.keep, frozen = !studyMay(page, 'purpose');
  const title = adminInput('purpose-title', { value: draft.title }), text = adminSet(adminNode('textarea'), { rows: 5, 'data-key': 'purpose-text', disabled: frozen, maxlength: 20000 });
  text.value = draft.text;
  adminSet(title, { disabled: frozen, maxlength: 200 });
  title.addEventListener('input', () => { draftOf(page).title = title.value; studyChanged(page, false); });
  text.addEventListener('input', () => { draftOf(page).text = text.value; studyChanged(page, false); });
  return studyFold('fold-purpose', '1  Title and reading guide', draft.title, true, adminField('Title', title), adminField('Protocol and reading guide', text, 'Readers can open it at any time: what is asked, how the scale is meant, what to do in doubt. Do not name methods or expectations here.'));
}

// The draft as it is now; the object may have been replaced since a control was made.
function draftOf(page) {
  return page.keep.draft;
}

function studyGrras(page) {
  const { draft } = page.keep, { choices } = page.value, frozen = !studyMay(page, 'grras');
  const fields = choices.grras.map(([number, title, help]) => {
    const text = adminSet(adminNode('textarea'), { rows: 2, 'data-key': `grras-${number}`, disabled: frozen, maxlength: 5000 });
    text.value = draft.grras[number] || '';
    text.addEventListener('input', () => {
      if (text.value.trim()) draftOf(page).grras[number] = text.value;
      else delete draftOf(page).grras[number];
      studyChanged(page, false);
    });
    return adminField(`${number}  ${title}`, text, help);
  });
  const filled = Object.keys(draft.grras).length;
  return studyFold('fold-grras', '8  For the report (GRRAS)', filled ? `${filled} of ${choices.grras.length} filled in` : 'can be filled in later', false,
    adminNode('p', 'lbx-soft', 'The fifteen items of the Guidelines for Reporting Reliability and Agreement Studies (Kottner 2011). The report fills in what the study itself tells, and asks for the rest.'),
    adminNode('div', 'lbs-two', fields));
}
