// Analysis: what it is limited to, how much there is, and what must be known beside every number.

function drawStudyAnalysisHead(page, value) {
  const isThere = studyHead(page, value, value.found && value.state !== 'draft' ? studyLinks(value) : []);
  const busy = studyCard(page, 'busy', '', !isThere || !(value.busy || value.problem)), top = studyCard(page, 'top', '', !isThere || !value.found);
  if (!isThere) return;
  adminDraw(busy, [value.busy, value.problem], () => (value.busy ? adminNode('p', 'lbs-busy', 'The analysis is being computed…') : adminEmpty('No analysis yet.', value.problem)));
  adminSet(busy, { role: 'status' });
  if (value.found) adminDraw(top, value.found, () => studyFound(page, value.found));
}

function studyLinks(value) {
  const { id, state } = value.study;
  if (!['locked', 'exported'].includes(state)) return adminNode('span', 'lbx-soft', 'preliminary: answers still come in');
  return [adminBadge(value.found.unblinded ? 'unblinded' : 'blinded'), studyDownload('Report (PDF)', `/studies/${id}/report.pdf`), studyDownload('Export (ZIP)', `/studies/${id}/export.zip`)];
}

Object.assign(ADMIN_STATES, { blinded: ['Conditions blinded', 'rest'], unblinded: ['Unblinded', 'good'] });

// Filters, numbers and remarks; `limits` are the filters that make sense here.
function studyFound(page, found, limits = ['arm', 'group', 'question', 'pair'], departed = 'What departed from the protocol') {
  const pick = (name, label, choices) => {
    if (!limits.includes(name) || choices.length < 2) return null;
    const select = adminSelect(`filter-${name}`, choices, found.picked[name]);
    select.addEventListener('change', () => page.send('filter', { arm: '', group: '', ...found.picked, [name]: select.value, ...(name === 'question' ? { pair: '' } : {}) }));
    return adminField(label, select);
  };
  const plural = (n, one, many) => `${adminWhole(n)} ${n === 1 ? one : many}`;
  return [
    adminNode('div', 'lbs-filters',
      pick('arm', 'Condition', [['', 'All conditions'], ...found.arms]), pick('group', 'Case group', found.groups.length ? [['', 'All cases'], ...found.groups.map((name) => [name, name])] : []),
      pick('question', 'Pairs and ratings by condition: question', found.questions), pick('pair', 'Two readers', found.pairs.map((name) => [name, name]))),
    adminNode('p', 'lbs-counts', adminNode('b', '', [plural(found.readers, 'reader', 'readers'), plural(found.cases, 'case', 'cases'), plural(found.answers, 'answer with a value', 'answers with a value')].join(', ')), found.withdrawn ? `, ${plural(found.withdrawn, 'reader', 'readers')} withdrawn` : '', '.'),
    studyList('is-note', found.remarks.slice(0, 12), 'Worth knowing beside the numbers'),
    studyList('', found.notes),
    studyList('is-note', found.deviations, departed),
  ];
}
