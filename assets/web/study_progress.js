// Progress: who has read how much, while the study is open.

function drawStudyProgress(page, value) {
  const isThere = studyHead(page, value), found = value.progress;
  const none = studyCard(page, 'draft', '', !isThere || found), top = studyCard(page, 'top', '', !found), readers = studyCard(page, 'readers', '', !found), days = studyCard(page, 'days', '', !found);
  if (isThere && !found) adminDraw(none, 'draft', () => adminEmpty('This study is a draft.', 'Once it is open, this page shows who has read how much, live.'));
  if (!found) return;
  adminDraw(top, [found.readers, found.answers, value.study], () => studyProgressTop(value.study, found));
  adminDraw(readers, [found.readers, value.study.state], () => studyReaders(page, value.study, found.readers));
  adminDraw(days, found.per_day, () => studyDays(found.per_day));
  const departed = studyCard(page, 'departed', '', !(found.deviations && found.deviations.length));
  adminDraw(departed, found.deviations, () => [adminHead('What departed from the protocol'), studyList('is-note', (found.deviations || []).map((each) => `${adminTime(each.at)}: ${each.text}`))]);
}

function studyProgressTop(study, found) {
  const there = found.readers.filter((each) => !studyHasLeft(each)), done = found.readers.reduce((sum, each) => sum + each.done, 0), planned = there.reduce((sum, each) => sum + each.planned, 0);
  const finished = there.filter((each) => each.done >= each.planned).length, counted = there.reduce((sum, each) => sum + each.done, 0);
  return [
    adminHead('So far', adminNode('span', 'lbx-soft', study.state === 'open' ? 'Looks again every few seconds' : 'The study is closed')),
    adminProgress(planned ? counted / planned : 0, 'Readings handed in'),
    adminFacts([['Readings handed in', `${adminWhole(done)} of ${adminWhole(planned)}`], ['Readers who have finished', `${finished} of ${there.length}`], ['Answers', adminWhole(found.answers)], ['Withdrawn', found.readers.length - there.length || null]]),
  ];
}

function studyHasLeft(row) {
  return Boolean(row.withdrawn) || row.state === 'withdrawn';
}

function studyReaderState(row) {
  if (studyHasLeft(row)) return adminBadge('withdrawn');
  const state = row.done >= row.planned ? 'finished' : row.state === 'ready' ? (row.done ? 'reading' : 'waiting') : row.state;
  return adminNode('span', '', adminBadge(state), state === 'washout' && row.from ? adminNode('small', 'lba-under', `until ${adminTime(row.from)}`) : null);
}

function studyReaders(page, study, rows) {
  const isOpen = study.state === 'open';
  const leave = async (row) => {
    const reason = await adminAsk(page, { title: `Withdraw ${row.display || row.name}?`, yes: 'Withdraw', danger: true, field: 'Reason', text: ['The reader can hand in nothing more. Answers given so far are kept, and the report names the withdrawal.'] });
    if (reason) page.send('withdraw', { study: study.id, reader: row.name, reason });
  };
  const allow = async (row) => {
    const reason = await adminAsk(page, { title: `Let ${row.display || row.name} begin the next session now?`, yes: 'Let begin', danger: true, field: 'Reason', text: ['The washout has not ended. Readers may remember cases; the report will name this as a deviation from the protocol.'] });
    if (reason) page.send('override', { study: study.id, reader: row.name, reason });
  };
  const excuse = async (row) => {
    const reason = await adminAsk(page, { title: `Let ${row.display || row.name} go on?`, yes: 'Let go on', danger: true, field: 'Reason', text: ['Too few warm-up answers were right. The report will name this as a deviation from the protocol.'] });
    if (reason) page.send('excuse', { study: study.id, reader: row.name, reason });
  };
  return [
    adminHead('Readers'),
    adminTable([
      ['Reader', (row) => adminNode('span', '', adminNode('span', 'lba-strong', row.display || row.name), adminNode('small', 'lba-under', `${row.code}, account ${row.name}`))],
      ['State', (row) => studyReaderState(row)],
      ['Handed in', (row) => adminNode('div', '', adminProgress(row.planned ? row.done / row.planned : 0, `Progress of ${row.code}`), adminNode('small', 'lba-under', `${adminWhole(row.done)} of ${adminWhole(row.planned)}`)), 'lba-wide'],
      ['Session', (row) => (row.sessions ? `${row.session} of ${row.sessions}` : adminWhole(row.session)), 'lba-num'],
      ['Active time', (row) => adminMinutes(row.minutes), 'lba-num'],
      ['Breaks', (row) => adminWhole(row.breaks), 'lba-num'],
      ['Last handed in', (row) => adminTime(row.last_at), 'lba-num'],
      ['', (row) => adminNode('span', 'lba-actions', row.state === 'washout' ? adminButton('End washout…', () => allow(row), { key: `allow-${row.name}`, reason: isOpen ? '' : 'The study is not open.' }) : null,
        row.state === 'failed_training' ? adminButton('Let go on…', () => excuse(row), { key: `excuse-${row.name}`, reason: isOpen ? '' : 'The study is not open.' }) : null,
        studyHasLeft(row) || !isOpen ? null : adminButton('Withdraw…', () => leave(row), { danger: true, key: `leave-${row.name}`, reason: isOpen ? '' : 'The study is not open.' }))],
    ], rows, { label: 'Progress of each reader' }),
    studyDescribe(page, study, rows),
  ];
}

// What the report tells of each reader, who is not named.
function studyDescribe(page, study, rows) {
  const line = (row) => {
    const specialty = adminInput(`specialty-${row.name}`, { value: row.specialty, placeholder: 'Radiology' }), experience = adminInput(`experience-${row.name}`, { value: row.experience, placeholder: '5-10 years' });
    const save = () => page.send('describe', { study: study.id, reader: row.name, specialty: specialty.value, experience: experience.value });
    for (const input of [specialty, experience]) { adminSet(input, { maxlength: 80 }); input.addEventListener('change', save); }
    return adminNode('div', 'lbs-describe', adminNode('span', 'lba-strong', `${row.code}  ${row.display || row.name}`), adminField('Specialty', specialty), adminField('Experience', experience));
  };
  const known = rows.filter((row) => row.specialty || row.experience).length;
  return studyFold('describe', 'For the report: who the readers are', `${known} of ${rows.length} described`, false, adminNode('p', 'lbx-soft', 'The report and the export name no reader; they give specialty and experience beside the code.'), rows.map(line));
}

function studyDays(days) {
  const pairs = (days || []).map((each) => (Array.isArray(each) ? each : [each.day || each.date, each.answers ?? each.readings ?? each.n]));
  if (!pairs.length) return [adminHead('By day'), adminNode('p', 'lbx-soft', 'Nothing has been handed in yet.')];
  return [adminHead('By day'), adminBars('Handed in on each day', Object.fromEntries(pairs), { sorted: false, most: 31 })];
}
