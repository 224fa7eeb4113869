// Studies: the list, and what can be done with the one that is open, step by step.

const STUDY_STEPS = [['draft', 'Designed'], ['prepared', 'Prepared'], ['open', 'Open for reading'], ['locked', 'Locked'], ['unblinded', 'Unblinded'], ['exported', 'Exported']];

function drawStudies(page, value) {
  const create = adminPart(page, 'create'), list = adminPart(page, 'list'), detail = adminPart(page, 'detail');
  if (!create.titleBox) studyCreateFrame(page, create);
  adminSaid(page, 'create', create.said);
  if (value.said && value.said.form === 'create' && value.said.good) create.titleBox.value = '';
  adminDraw(list, [value.studies, value.study && value.study.id], () => studyListed(page, value));
  detail.hidden = !value.study;
  if (value.study) adminDraw(detail, [value.study, value.detail], () => studyDetail(page, value.study, value.detail));
}

function studyCreateFrame(page, part) {
  part.titleBox = adminInput('title', { placeholder: 'Such as: Trust in heat maps of breast cancer, pilot' });
  adminSet(part.titleBox, { maxlength: 200 });
  part.said = adminSaidLine();
  const field = adminField('Title of a new study', part.titleBox);
  const make = () => {
    field.say(part.titleBox.value.trim() ? '' : 'Please give the study a title.');
    if (part.titleBox.value.trim()) page.send('create', { title: part.titleBox.value });
    else part.titleBox.focus();
  };
  part.titleBox.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); make(); } });
  part.append(adminNode('div', 'lbs-create', field, adminButton('Create a draft', make, { main: true })), part.said);
}

function studyListed(page, value) {
  const head = adminHead('Studies');
  if (!value.studies.length) return [head, adminEmpty('There is no study yet.', 'A study starts as a draft: give it a title above, then choose cases, readers, conditions and questions.')];
  return [head, adminTable([
    ['Study', (row) => adminNode('span', '', adminNode('span', 'lba-strong', row.title), adminNode('small', 'lba-under', row.code)), 'lba-long'],
    ['State', (row) => adminBadge(row.state)],
    ['Cases', (row) => adminWhole(row.cases), 'lba-num'],
    ['Readers', (row) => adminWhole(row.readers), 'lba-num'],
    ['Readings handed in', (row) => studyDone(row), 'lba-wide'],
    ['Owner', (row) => row.owner],
    ['Created', (row) => adminTime(row.created), 'lba-num'],
  ], value.studies, { key: (row) => row.id, chosen: value.study && value.study.id, choose: (id) => page.send('choose', { study: Number(id) }), label: 'Studies' })];
}

function studyDone(row) {
  if (row.state === 'draft' || !row.readings) return adminNode('span', 'lbx-soft', 'not begun');
  return adminNode('div', '', adminProgress(row.done / row.readings, `Readings of ${row.title}`), adminNode('small', 'lba-under', `${adminWhole(row.done)} of ${adminWhole(row.readings)}`));
}

function studyIsPrepared(detail) {
  const ready = detail.preparation || {};
  return ready.total > 0 && ready.done >= ready.total && !ready.error;
}

function studyDetail(page, row, detail) {
  const ready = detail.preparation || { done: 0, total: 0 }, prepared = studyIsPrepared(detail) || row.state !== 'draft';
  const reached = { draft: !detail.errors.length, prepared, open: row.state !== 'draft', locked: ['locked', 'exported'].includes(row.state), unblinded: Boolean(row.unblinded), exported: row.state === 'exported' };
  const now = STUDY_STEPS.findIndex(([step]) => !reached[step]);
  const steps = adminNode('ol', 'lbs-steps', STUDY_STEPS.map(([step, words], n) => adminSet(
    adminNode('li', reached[step] ? 'is-done' : n === now ? 'is-now' : '', adminNode('span', 'lbs-step-mark', reached[step] ? '✓' : String(n + 1)), words, adminNode('span', 'lbx-hidden', reached[step] ? ' (done)' : '')), { 'aria-current': n === now ? 'step' : null })));
  return [
    adminHead(row.title, adminBadge(row.state), ...studyButtons(page, row, detail, prepared)),
    steps,
    adminNode('p', 'lbs-next', studyNext(row, detail, prepared)),
    ready.error ? adminNode('div', 'lba-banner is-bad', adminNode('p', '', `The preparation stopped: ${ready.error}`)) : null,
    row.state === 'draft' && !ready.error && (ready.running ?? (ready.done > 0 && ready.done < ready.total)) ? adminNode('div', 'lba-banner', adminNode('p', '', `Maps and predictions: ${adminWhole(ready.done)} of ${adminWhole(ready.total)}`), adminProgress(ready.done / ready.total, 'Preparation')) : null,
    studyMeasured(detail.measuring),
    row.state === 'draft' ? studyList('is-bad', detail.errors, 'To be mended before the study can be opened') : null,
    row.state === 'draft' ? studyList('is-note', detail.cautions, 'Worth a thought') : null,
    adminFacts([['Code', row.code], ['Owner', row.owner], ['Cases', adminWhole(row.cases)], ['Readers', adminWhole(row.readers)], ['Readings planned', row.readings ? adminWhole(row.readings) : null], ['Handed in', row.readings ? adminWhole(row.done) : null], ['Created', adminTime(row.created)]]),
    reached.locked ? studyTakeAway(page, row) : null,
    studyObservers(page, row, detail.people || []),
  ];
}

function studyNext(row, detail, prepared) {
  if (row.state === 'draft' && detail.errors.length) return 'Next: finish the design.';
  if (row.state === 'draft' && !prepared) return 'Next: prepare it. All maps and predictions are made once and frozen, so that every reader sees the same.';
  if (row.state === 'draft') return 'Next: open it for reading. Cases, readers and training cases can still be added later; nothing is reshuffled.';
  if (row.state === 'open') return row.done < row.readings ? 'Readers are at work. Lock the study when enough is handed in: the answers, the model and the display settings are frozen then.' : 'All readings are handed in. Lock the study: the answers, the model and the display settings are frozen then.';
  if (!row.unblinded) return 'The conditions still have neutral names. Look at the analysis blinded first; unblinding cannot be undone.';
  return 'Unblinded. The report and the export name the conditions.';
}

function studyButtons(page, row, detail, prepared) {
  const send = (what, more) => page.send(what, { study: row.id, ...more }), go = (tab) => page.send('go', { study: row.id, tab });
  const wrong = detail.errors.length ? 'Finish the design first.' : '';
  const copy = adminButton('Copy', () => send('copy'), { title: 'A new draft of the same design' });
  if (row.state === 'draft') {
    return [
      adminButton('Design', () => go('design'), { main: Boolean(wrong) }),
      adminButton(prepared ? 'Prepare again' : 'Prepare', () => send('prepare'), { main: !wrong && !prepared, reason: wrong }),
      adminButton('Open for reading', (button) => studyOpen(page, row, button), { main: !wrong && prepared, reason: wrong || (prepared ? '' : 'Prepare the study first.') }),
      copy,
      adminButton('Delete', async () => {
        if (await adminAsk(page, { title: `Delete the draft “${row.title}”?`, yes: 'Delete', danger: true, text: 'The design is removed for good. Cases and accounts are not touched.' })) send('delete');
      }, { danger: true }),
    ];
  }
  if (row.state === 'open') {
    return [adminButton('Progress', () => go('progress')), adminButton('Analysis so far', () => go('analysis')), adminButton('Lock', () => studyLock(page, row), { main: row.done >= row.readings, danger: row.done < row.readings }), copy];
  }
  return [
    adminButton('Analysis', () => go('analysis'), { main: Boolean(row.unblinded) }), adminButton('Adjudication', () => go('adjudication')),
    row.unblinded ? null : adminButton('Unblind', async () => {
      if (await adminAsk(page, { title: `Unblind “${row.title}”?`, yes: 'Unblind', text: ['The conditions get their names in the analysis, the report and the export.', 'This cannot be undone, and is noted in the audit trail.'] })) send('unblind');
    }, { main: true }),
    studyMeasure(detail.measuring, () => send('measure')),
    copy,
  ].filter(Boolean);
}

// Scores of the maps by themselves (faithful? on the lesion?), for the analysis to set beside their ratings.
function studyMeasure(measuring, begin) {
  if (!measuring || !measuring.total) return null;
  const all = measuring.done >= measuring.total, reason = measuring.running ? 'The maps are being measured.' : all ? 'All maps are measured.' : '';
  return adminButton('Measure the maps', begin, { reason, title: 'How faithful each map is and how well it finds the lesion, to be compared with its ratings' });
}

function studyMeasured(measuring) {
  if (!measuring || !(measuring.running || measuring.error)) return null;
  if (measuring.error) return adminNode('div', 'lba-banner is-bad', adminNode('p', '', `The measuring stopped: ${measuring.error}`));
  return adminNode('div', 'lba-banner', adminNode('p', '', `Maps measured: ${adminWhole(measuring.done)} of ${adminWhole(measuring.total)}`), adminProgress(measuring.done / measuring.total, 'Measuring'));
}

async function studyOpen(page, row, button) {
  button.disabled = true;
  const found = await page.server.lonely(row.id);
  button.disabled = false;
  const pairs = (found && found.pairs) || [];
  const text = ['Its readers see it from now on. What is asked freezes with the first answer.'];
  if (pairs.length) text.push(`${pairs.length === 1 ? 'One pair of readers shares' : `${pairs.length} pairs of readers share`} no case (${pairs.slice(0, 4).map((pair) => pair.join(' and ')).join('; ')}${pairs.length > 4 ? '; …' : ''}), so that their agreement cannot be estimated.`);
  const sure = await adminAsk(page, { title: `Open “${row.title}” for reading?`, yes: pairs.length ? 'Open all the same' : 'Open', danger: pairs.length > 0, text });
  if (sure) page.send('open', { study: row.id, lonely: pairs.length > 0 });
}

async function studyLock(page, row) {
  const left = row.readings - row.done, early = left > 0;
  const reason = await adminAsk(page, {
    title: `Lock “${row.title}”?`, yes: 'Lock', danger: early, field: early ? 'Reason for locking early' : 'Remark (optional)', optional: !early,
    text: [early ? `${adminWhole(left)} of ${adminWhole(row.readings)} readings are not handed in; they will count as missing.` : 'All readings are handed in.', 'No answer can be given or changed afterwards. This cannot be undone.'],
  });
  if (reason) page.send('lock', { study: row.id, reason: reason.trim() });
}

// Observers look at the analysis and change nothing.
function studyObservers(page, row, people) {
  if (!people.length) return null;
  const named = new Set(row.observers || []), send = () => page.send('observers', { study: row.id, names: [...named] });
  return studyFold('observers', 'Observers', named.size ? [...named].join(', ') : 'nobody', false, adminNode('p', 'lbx-soft', 'They may look at the analysis of this study and change nothing. Readers of the study cannot observe it.'),
    adminSet(adminNode('div', 'lbs-checks', people.map((each) => studyBox(each.display && each.display !== each.name ? `${each.display} (${each.name})` : each.name, named.has(each.name), (on) => { if (on) named.add(each.name); else named.delete(each.name); send(); }, { key: `observer-${each.name}` }))), { role: 'group', 'aria-label': 'Observers' }));
}

function studyTakeAway(page, row) {
  const links = adminNode('div', 'lba-actions', studyDownload('Report (PDF)', `/studies/${row.id}/report.pdf`), studyDownload('Report (JSON)', `/studies/${row.id}/report.json`), studyDownload('Everything (ZIP)', `/studies/${row.id}/export.zip`, 'Answers as CSV and Parquet, data dictionary, wide matrices, analysis, and a script that computes it again'));
  links.addEventListener('click', () => setTimeout(() => page.send('refresh', {}), 2500));
  return adminNode('div', 'lbs-take', adminNode('h3', 'lba-sub', 'Take away'), adminNode('p', 'lbx-soft', row.unblinded ? 'Readers and cases have pseudonyms of this study; no login name leaves Lightbox.' : 'Conditions have neutral names until the study is unblinded. Readers and cases have pseudonyms of this study.'), links);
}
