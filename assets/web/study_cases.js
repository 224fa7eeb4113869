// Design: cases with their pictures and groups, and readers.

function studyCases(page) {
  const { draft, finding } = page.keep, { choices } = page.value, may = studyMay(page, 'cases'), isOpen = page.value.state === 'open';
  const known = new Set(choices.cases.map((each) => each.id)), chosen = new Set(draft.cases), stored = new Set(isOpen ? page.value.protocol.cases : []);
  const words = (finding || '').toLowerCase(), shown = choices.cases.filter((each) => !words || [each.id, ...(each.modalities || [])].join(' ').toLowerCase().includes(words));
  const find = adminInput('find-case', { kind: 'search', value: finding, placeholder: 'Find a case' });
  adminSet(find, { 'aria-label': 'Find a case' });
  find.addEventListener('input', () => { page.keep.finding = find.value; studyDrawAll(page); });
  const set = (ids, on) => {
    const now = draftOf(page), some = new Set(ids);
    now.cases = on ? [...now.cases, ...ids.filter((id) => !now.cases.includes(id))] : now.cases.filter((id) => !some.has(id) || stored.has(id));
    if (!on) for (const id of ids) if (!now.cases.includes(id)) delete now.groups[id];
    studyChanged(page);
  };
  const ids = shown.map((each) => each.id), gone = draft.cases.filter((id) => !known.has(id));
  const truth = choices.cases.filter((each) => chosen.has(each.id) && each.has_truth).length;
  return studyFold('fold-cases', '2  Cases', draft.cases.length ? `${draft.cases.length} chosen, ${truth} with known truth` : 'none chosen yet', true,
    adminNode('div', 'lba-actions', find, adminButton('Choose all shown', () => set(ids, true), { reason: may ? '' : 'Cases are frozen.' }), adminButton('Choose none', () => set(ids, false), { reason: may && !isOpen ? '' : 'Cases can only be added now.' })),
    gone.length ? adminNode('p', 'lba-banner is-bad', `${gone.length === 1 ? 'One case is' : `${gone.length} cases are`} no longer there: ${gone.join(', ')}.`) : null,
    shown.length ? adminSet(adminNode('ul', 'lbs-cases', shown.map((each) => studyCase(page, each, chosen.has(each.id), { may: may && !(stored.has(each.id)), set }))), { 'data-scroll': 'cases', tabindex: 0, 'aria-label': 'Cases to choose from' }) : adminEmpty('No case fits.', choices.cases.length ? 'Change what you look for.' : 'Upload cases first.'),
    studyGroups(page, may));
}

function studyCase(page, each, isChosen, { may, set }) {
  const box = adminSet(adminNode('input'), { type: 'checkbox', 'data-key': `case-${each.id}`, disabled: !may, 'aria-label': `Case ${each.id}` });
  box.checked = isChosen;
  box.addEventListener('change', () => set([each.id], box.checked));
  const picture = adminSet(adminNode('img'), { src: each.thumbnail || `/thumbnails/${encodeURIComponent(each.id)}.png`, alt: '', loading: 'lazy', width: 64, height: 64 });
  const group = page.keep.draft.groups[each.id];
  return adminNode('li', isChosen ? 'is-chosen' : '', adminNode('label', '', box, picture, adminNode('span', 'lbs-case-words', adminNode('b', '', each.id), adminNode('small', '', (each.modalities || []).join(', ')), adminNode('small', '', each.has_truth ? 'truth known' : 'truth not known', group ? ` · ${group}` : ''))));
}

// Groups name parts of the cases, such as "AI wrong" or "dense breast", for an analysis of each part.
function studyGroups(page, may) {
  const { draft } = page.keep, frozen = !(may && page.value.state === 'draft') && page.value.state !== 'open', names = [...new Set(Object.values(draft.groups))].sort();
  const name = adminInput('group-name', { placeholder: 'Such as: dense breast' }), list = adminSelect('group-case', [['', 'Choose a case'], ...draft.cases.map((id) => [id, draft.groups[id] ? `${id} (${draft.groups[id]})` : id])]);
  adminSet(name, { maxlength: 60, disabled: frozen });
  adminSet(list, { disabled: frozen });
  const put = adminButton('Put into the group', () => {
    if (!list.value) return;
    if (name.value.trim()) draftOf(page).groups[list.value] = name.value.trim();
    else delete draftOf(page).groups[list.value];
    studyChanged(page);
  }, { reason: frozen ? 'Groups are frozen.' : '' });
  const counts = names.map((each) => `${each}: ${Object.values(draft.groups).filter((other) => other === each).length}`);
  return studyFold('fold-groups', 'Case groups', counts.length ? counts.join(', ') : 'optional, for an analysis of each group', false,
    adminNode('div', 'lbs-inline', adminField('Case', list), adminField('Group (empty: none)', name), put));
}

function studyReaderChoice(page) {
  const { draft } = page.keep, { choices } = page.value, may = studyMay(page, 'readers'), stored = new Set(page.value.state === 'open' ? page.value.protocol.readers : []);
  const boxes = choices.readers.map((each) => studyBox(each.display && each.display !== each.name ? `${each.display} (${each.name})` : each.name, draft.readers.includes(each.name), (on) => {
    const now = draftOf(page);
    now.readers = on ? [...now.readers, each.name] : now.readers.filter((name) => name !== each.name);
    studyChanged(page);
  }, { key: `reader-${each.name}`, reason: !may ? 'Readers are frozen.' : stored.has(each.name) ? 'A reader of an open study is withdrawn on the tab “Progress”.' : '' }));
  return studyFold('fold-readers', '3  Readers', draft.readers.length ? `${draft.readers.length} chosen` : 'none chosen yet', true,
    adminNode('p', 'lbx-soft', 'Readers see neither each other nor each other’s answers. In the analysis and the export they are R01, R02 and so on.'),
    boxes.length ? adminSet(adminNode('div', 'lbs-checks', boxes), { role: 'group', 'aria-label': 'Readers' }) : adminEmpty('There is no reader.', 'An administrator adds accounts.'));
}
