// Design: what follows from it, before anything starts. Problems, readings, shared cases, expected interval width.

const STUDY_SHORT = {
  percent_agreement: 'Percent agreement', cohen_kappa: 'Cohen’s kappa', fleiss_kappa: 'Fleiss’ kappa', light_kappa: 'Light’s kappa', conger_kappa: 'Conger’s kappa', gwet_ac: 'Gwet’s AC',
  krippendorff_alpha: 'Krippendorff’s alpha', icc_2_1: 'ICC(2,1)',
};

function studyFollows(page) {
  const follows = page.keep.follows || { errors: [], cautions: [], preview: null }, { preview } = follows;
  const head = adminHead('What follows from it', adminNode('span', 'lbx-soft', page.keep.isChecking ? 'being computed…' : ''));
  const problems = [studyList('is-bad', follows.errors, 'To be mended'), studyList('is-note', follows.cautions, 'Worth a thought')];
  if (!preview) return [head, ...problems, follows.errors.length ? null : adminNode('p', 'lbx-soft', 'Choose cases, readers, conditions and questions first.')];
  return [head, ...problems, follows.errors.length ? null : adminNode('p', 'lbs-fine', 'The design can be run.'), studyPlanned(preview), studyOverlap(preview), studyWidths(preview), studyList('', preview.notes)];
}

function studyPlanned(preview) {
  const total = preview.readers.reduce((sum, each) => sum + each.readings, 0), { minutes } = preview, each = typeof minutes === 'object' && minutes ? minutes : null;
  if (!preview.readers.length) return null;
  return adminNode('div', '', adminNode('h3', 'lba-sub', 'Readings'), adminTable([
    ['Reader', (row) => row.reader], ['Readings', (row) => adminWhole(row.readings), 'lba-num'], ['Sessions', (row) => adminWhole(row.sessions), 'lba-num'],
    ...(each ? [['About', (row) => adminMinutes(each[row.reader]), 'lba-num']] : []),
  ], preview.readers, { label: 'Readings of each reader' }), adminNode('p', 'lbx-soft', `${adminWhole(total)} readings in all${typeof minutes === 'number' ? `, about ${adminMinutes(minutes)} for each reader` : ''}.`));
}

function studyOverlap(preview) {
  const names = preview.readers.map((each) => each.reader);
  if (names.length < 2) return null;
  const most = Math.max(1, ...preview.overlap.flat().filter((n) => typeof n === 'number'));
  const cell = (n) => {
    const made = adminNode('td', n === null ? 'is-self' : n === 0 ? 'is-zero' : '', n === null ? '·' : String(n));
    if (n) made.style.setProperty('--share', String(n / most));
    return made;
  };
  const table = adminNode('table', 'lbs-overlap', adminNode('thead', '', adminNode('tr', '', adminNode('td'), names.map((name) => adminSet(adminNode('th', '', name), { scope: 'col' })))),
    adminNode('tbody', '', names.map((name, at) => adminNode('tr', '', adminSet(adminNode('th', '', name), { scope: 'row' }), preview.overlap[at].map(cell)))));
  adminSet(table, { 'aria-label': 'Cases that each pair of readers shares' });
  const lonely = preview.lonely.length ? adminNode('p', 'lbx-bad', `${preview.lonely.length === 1 ? 'One pair shares' : `${preview.lonely.length} pairs share`} no case; their agreement cannot be estimated.`) : null;
  return adminNode('div', '', adminNode('h3', 'lba-sub', 'Cases that two readers share'), adminSet(adminNode('div', 'lba-scroll', table), { tabindex: 0, role: 'region', 'aria-label': 'Shared cases' }), lonely);
}

function studyWidths(preview) {
  if (!preview.widths.length) return null;
  const words = (row) => adminNode('span', '', adminNode('span', '', STUDY_SHORT[row.statistic] || row.statistic.replaceAll('_', ' ')), row.weights ? adminNode('small', 'lba-under', row.weights) : null);
  return adminNode('div', '', adminNode('h3', 'lba-sub', 'Expected width of the intervals'), adminTable([
    ['Statistic', words], ['Cases', (row) => adminWhole(row.cases), 'lba-num'], ['Readers', (row) => adminWhole(row.raters), 'lba-num'], ['95 % interval', (row) => (typeof row.half_width === 'number' ? `± ${row.half_width.toFixed(2)}` : row.reason || '–'), 'lba-num'],
  ], preview.widths, { label: 'Expected half-widths of 95 % intervals' }), adminNode('p', 'lbx-soft', 'For a true kappa near 0.6. Four times the cases halve the width.'));
}
