// Analysis: the tables. Every estimate stands with its 95 % interval, or with the reason why there is none.

const STUDY_SCORES = {
  pointing_game: 'Hottest point in the lesion', energy_in_lesion: 'Heat in the lesion', mass_in_lesion: 'Heat in the lesion', relevance_mass: 'Heat in the lesion', deletion: 'Deletion', insertion: 'Insertion', deletion_auc: 'Deletion', insertion_auc: 'Insertion',
};
const STUDY_MEASURES = { auc: 'Area under the curve', sensitivity: 'Sensitivity', specificity: 'Specificity' };
const STUDY_PARTS = { all: 'All data', without_decoys: 'Without decoys', ai_wrong: 'Only where the model was wrong' };

function drawStudyAgreement(page, value) {
  page.root.hidden = !value.analysis;
  if (!value.analysis) return;
  const part = adminPart(page, 'agreement'), ratings = adminPart(page, 'ratings');
  const all = value.analysis.questions, rated = all.filter((one) => one.statistics.length), told = all.filter((one) => one.ratings || one.cannot_judge || one.missing);
  part.hidden = !rated.length && !told.some((one) => one.reason);
  adminDraw(part, rated.length ? rated : told, () => studyAgreement(value, all));
  ratings.hidden = !told.length;
  adminDraw(ratings, told, () => studyRatings(value, told));
}

// The headline numbers of each question; those of each condition and case group below, folded.
function studyAgreement(value, all) {
  const rated = all.filter((one) => one.statistics.length), { arm, group } = value.analysis, main = rated.filter((one) => one.arm === (arm || '') && one.group === (group || ''));
  const shown = main.length ? main : rated.filter((one) => !one.arm && !one.group), rest = rated.filter((one) => !shown.includes(one)), reasons = all.filter((one) => !one.statistics.length && one.reason && !one.arm && !one.group);
  return [
    adminHead('Agreement between readers'),
    studyStatistics(shown, arm || group ? [['Question', (row) => row.one.text]] : [['Question', (row) => row.one.text, 'lba-long']], 'Agreement between readers'),
    reasons.length ? studyList('', reasons.map((one) => `${one.text} ${one.reason}`)) : null,
    rest.length ? studyFold('agreement-more', 'By condition and case group', `${rest.length} parts`, false, studyStatistics(rest, [['Question', (row) => row.one.text, 'lba-long'], ['Part', (row) => [row.one.arm && row.one.arm_title, row.one.group].filter(Boolean).join(', ')]], 'Agreement by condition and case group')) : null,
  ];
}

function studyStatistics(results, first, label) {
  const rows = results.flatMap((one) => one.statistics.map((statistic, n) => ({ one, statistic, isFirst: n === 0 })));
  return adminTable([
    ...first.map(([title, cell, kind]) => [title, (row) => (row.isFirst ? adminNode('span', 'lba-strong', cell(row)) : adminNode('span', 'lbx-hidden', cell(row))), kind]),
    ['Statistic', (row) => row.statistic.title, 'lbs-line'],
    ['Estimate (95 % interval)', (row) => studyEstimate(row.statistic), 'lbs-value'],
    ['By Gwet’s benchmark', (row) => row.statistic.benchmark || '–'],
    ['Basis', (row) => adminNode('span', 'lbx-soft', `${adminWhole(row.statistic.cases)} items, ${row.statistic.raters} readers, ${adminWhole(row.statistic.ratings)} ratings, ${adminWhole(row.statistic.missing)} missing`), 'lbs-line'],
    ['Remarks', (row) => adminNode('span', 'lbx-soft', [row.statistic.value === null ? '' : row.statistic.reason, ...row.statistic.notes].filter(Boolean).join(' ') || '–'), 'lba-long'],
  ], rows, { label });
}

function studyRatings(value, told) {
  const pooled = told.filter((one) => !one.arm && !one.group), byArm = told.filter((one) => one.arm || one.group), columns = (first) => [
    ...first,
    ['Ratings', (one) => adminWhole(one.ratings), 'lba-num'], ['Cannot judge', (one) => adminWhole(one.cannot_judge), 'lba-num'], ['No answer', (one) => adminWhole(one.missing), 'lba-num'],
    ['Mean (95 % interval)', (one) => (typeof one.mean === 'number' ? studyEstimate(one, ['mean', 'mean_low', 'mean_high']) : '–'), 'lbs-value'],
    ['Median', (one) => adminNumber(one.median, 1), 'lba-num'], ['SD', (one) => adminNumber(one.sd, 2), 'lba-num'],
    ['Mean of each reader', (one) => adminNode('span', 'lbx-soft lbx-number', Object.entries(one.readers_mean).map(([name, mean]) => `${name} ${adminNumber(mean, 1)}`).join(', ') || '–'), 'lba-long'],
  ];
  return [
    adminHead('Ratings'), adminNode('p', 'lbx-soft', 'The interval of a mean is clustered by reader: it speaks of other readers of the same cases.'),
    pooled.length ? adminTable(columns([['Question', (one) => adminNode('span', 'lba-strong', one.text), 'lba-long']]), pooled, { label: 'Ratings of each question' }) : null,
    byArm.length ? studyFold('ratings-more', 'By condition and case group', `${byArm.length} parts`, !pooled.length, adminTable(columns([['Question', (one) => one.text, 'lba-long'], ['Part', (one) => [one.arm && one.arm_title, one.group].filter(Boolean).join(', ')]]), byArm, { label: 'Ratings of each condition and case group' })) : null,
  ];
}

function drawStudyTables(page, value) {
  page.root.hidden = !value.analysis;
  if (!value.analysis) return;
  const made = [
    ['comparisons', studyComparisons], ['trust', studyTrust], ['accuracy', studyAccuracy], ['decoys', studyDecoys], ['correlations', studyCorrelations],
    ['intra', studyIntra], ['forms', studyFormScores], ['sensitivity', studySensitivity], ['flags', studyFlagged],
  ];
  for (const [name, build] of made) {
    const part = adminPart(page, name), inside = build(value);
    part.hidden = !inside;
    adminDraw(part, inside ? [value.analysis, value.arms] : null, () => inside || []);
  }
}

// The question of a row, written once for rows that follow each other.
function studyQuestionColumn(value, rows) {
  return ['Question', (row) => adminNode('span', rows[rows.indexOf(row) - 1]?.question === row.question ? 'lbx-hidden' : 'lba-strong', studyAsked(value, row.question)), 'lba-long'];
}

const studyArm = (value, id) => (id ? value.arms[id] || id : 'All with a prediction');
const studyAsked = (value, id) => value.questions[id] || id;

function studyComparisons(value) {
  const { comparisons, friedman, model } = value.analysis;
  if (!comparisons.length && !friedman.length) return null;
  return [
    adminHead('Conditions compared, on the same cases'),
    friedman.length ? adminTable([
      studyQuestionColumn(value, friedman), ['Conditions', (row) => adminWhole(row.arms.length), 'lba-num'], ['Cases', (row) => adminWhole(row.cases), 'lba-num'],
      ['Friedman’s test', (row) => (typeof row.statistic === 'number' ? `χ² ${adminNumber(row.statistic, 2)}, df ${row.df}` : adminNode('span', 'lbs-none', row.reason)), 'lbs-value'], ['p', (row) => studyP(row.p), 'lba-num'], ['Kendall’s W', (row) => adminNumber(row.kendall_w, 2), 'lba-num'],
    ], friedman, { label: 'Friedman’s test of each question' }) : null,
    comparisons.length ? adminTable([
      studyQuestionColumn(value, comparisons), ['Conditions', (row) => `${studyArm(value, row.arm_b)} minus ${studyArm(value, row.arm_a)}`, 'lba-long'], ['Cases', (row) => adminWhole(row.cases), 'lba-num'],
      ['Mean difference (95 % interval)', (row) => studyEstimate(row, ['mean_difference', 'low', 'high']), 'lbs-value'], ['', (row) => studyWhisker(row, comparisons, ['mean_difference', 'low', 'high'])], ['p', (row) => studyP(row.p), 'lba-num'], ['p, Holm', (row) => studyP(row.p_holm), 'lba-num'],
    ], comparisons, { label: 'Pairs of conditions' }) : null,
    adminNode('p', 'lbx-soft', 'Each case counts once; p by Wilcoxon’s signed-rank test, corrected by Holm for all pairs of a question.'),
    ...model.map((one) => studyModel(value, one)),
  ];
}

function studyModel(value, one) {
  const terms = one.terms.map((term) => ({ ...term, words: term.name.startsWith('arm:') ? `${studyArm(value, term.name.slice(4))}, against ${studyArm(value, one.reference)}` : term.name.replaceAll('_', ' ') }));
  return studyFold(`model-${one.question}-${one.kind}`, `Model: ${studyAsked(value, one.question)}`, one.reason || `${one.kind}, ${adminWhole(one.observations)} ratings`, false,
    terms.length ? adminTable([
      ['Effect', (row) => adminNode('span', 'lba-strong', row.words), 'lba-long'], [one.kind.startsWith('cumulative') ? 'Log odds (95 % interval)' : 'Points (95 % interval)', (row) => studyEstimate(row, ['estimate', 'low', 'high']), 'lbs-value'],
      ['Standard error', (row) => adminNumber(row.se, 3), 'lba-num'], ['p', (row) => studyP(row.p), 'lba-num'],
    ], terms, { label: `Model of ${one.question}` }) : adminNode('p', '', one.reason || 'The fit did not converge, so that no effect is given.'));
}

function studyWhisker(row, rows, keys) {
  const [value, low, high] = keys.map((key) => row[key]), most = Math.max(1e-6, ...rows.filter((each) => each.question === row.question && each.measure === row.measure).flatMap((each) => [Math.abs(each[keys[1]] || 0), Math.abs(each[keys[2]] || 0)])), at = (v) => 60 + (56 * v) / most;
  const svg = adminShape('svg', { width: 120, height: 14, viewBox: '0 0 120 14', 'aria-hidden': true, class: 'lba-whisker' });
  if (typeof low !== 'number' || typeof high !== 'number') return svg;
  svg.append(adminShape('line', { x1: 60, x2: 60, y1: 0, y2: 14, class: 'lba-zero' }), adminShape('line', { x1: at(low), x2: at(high), y1: 7, y2: 7, class: 'lba-span' }), adminShape('circle', { cx: at(value), cy: 7, r: 3.2, class: 'lba-dot' }));
  return svg;
}

function studyTrust(value) {
  const rows = value.analysis.trust;
  if (!rows.length) return null;
  const relies = rows.some((row) => typeof row.over_reliance === 'number' || typeof row.under_reliance === 'number');
  return [
    adminHead('Where the model was right, and where it was wrong'),
    adminTable([
      studyQuestionColumn(value, rows), ['Condition', (row) => studyArm(value, row.arm), 'lba-long'],
      ['Mean where right', (row) => `${adminNumber(row.mean_right, 2)} (n ${row.n_right})`, 'lba-num'], ['Mean where wrong', (row) => `${adminNumber(row.mean_wrong, 2)} (n ${row.n_wrong})`, 'lba-num'],
      ['Difference (95 % interval)', (row) => studyEstimate(row, ['difference', 'low', 'high']), 'lbs-value'], ['', (row) => studyWhisker(row, rows, ['difference', 'low', 'high'])],
      ...(relies ? [['Followed a wrong prediction', (row) => studyShare(row.over_reliance, row.n_over), 'lba-num'], ['Left a right one', (row) => studyShare(row.under_reliance, row.n_under), 'lba-num']] : []),
    ], rows, { label: 'Ratings by the correctness of the model' }),
    adminNode('p', 'lbx-soft', 'Ratings that are as high where the model was wrong show trust that does not follow its correctness.'),
  ];
}

function studyAccuracy(value) {
  const found = value.analysis.accuracy;
  if (!found) return null;
  const cell = (name) => (row) => studyEstimate({ value: row[name], low: row[`${name}_low`], high: row[`${name}_high`] });
  return [
    adminHead('Diagnostic accuracy'), adminNode('p', '', `“${found.positive}” counts as positive. ${adminWhole(found.cases)} cases read by all (${adminWhole(found.positives)} positive, ${adminWhole(found.negatives)} negative), ${found.readers} readers.`),
    found.reason ? adminNode('p', 'lba-banner', found.reason) : null,
    adminTable([['Condition', (row) => adminNode('span', 'lba-strong', studyArm(value, row.arm)), 'lba-long'], ['Sensitivity', cell('sensitivity'), 'lbs-value'], ['Specificity', cell('specificity'), 'lbs-value'], ['Area under the curve', cell('auc'), 'lbs-value']], found.arms, { label: 'Accuracy of each condition' }),
    found.tests.length ? adminTable([['F test', (row) => adminNode('span', 'lba-strong', STUDY_MEASURES[row.measure] || row.measure)], ['F', (row) => (typeof row.f === 'number' ? `${adminNumber(row.f, 2)} (df ${row.df1}; ${row.df2 === null ? '∞' : adminNumber(row.df2, 1)})` : adminNode('span', 'lbs-none', row.reason)), 'lbs-value'], ['p', (row) => studyP(row.p), 'lba-num']], found.tests, { label: 'F tests of accuracy' }) : null,
    found.comparisons.length ? adminTable([
      ['Measure', (row) => adminNode('span', 'lba-strong', STUDY_MEASURES[row.measure] || row.measure)], ['Conditions', (row) => `${studyArm(value, row.arm_b)} minus ${studyArm(value, row.arm_a)}`, 'lba-long'], ['Difference (95 % interval)', (row) => studyEstimate(row, ['difference', 'low', 'high'], 3), 'lbs-value'],
      ['', (row) => studyWhisker(row, found.comparisons, ['difference', 'low', 'high'])], ['p', (row) => studyP(row.p), 'lba-num'], ['p, Holm', (row) => studyP(row.p_holm), 'lba-num'],
    ], found.comparisons, { label: 'Pairs of conditions, accuracy' }) : null,
    studyFold('accuracy-readers', 'Each reader', `${found.readers} readers`, false, adminTable([
      ['Condition', (row) => studyArm(value, row.arm), 'lba-long'], ['Reader', (row) => adminNode('span', 'lba-strong', row.reader)], ['Positive', (row) => adminWhole(row.positives), 'lba-num'], ['Negative', (row) => adminWhole(row.negatives), 'lba-num'],
      ['Sensitivity', (row) => adminNumber(row.sensitivity, 2), 'lba-num'], ['Specificity', (row) => adminNumber(row.specificity, 2), 'lba-num'], ['Area', (row) => adminNumber(row.auc, 3), 'lba-num'],
    ], found.arms.flatMap((arm) => arm.readers.map((reader) => ({ arm: arm.arm, ...reader }))), { label: 'Accuracy of each reader' })),
    adminNode('p', 'lbx-soft', 'Obuchowski and Rockette’s method with Hillis’ degrees of freedom: readers and cases are samples.'), studyList('', found.notes),
  ];
}

function studyDecoys(value) {
  const rows = value.analysis.decoys;
  if (!rows.length) return null;
  return [adminHead('Explanations against decoys'), adminTable([
    studyQuestionColumn(value, rows), ['Cases', (row) => adminWhole(row.cases), 'lba-num'], ['Mean, explanation', (row) => adminNumber(row.mean_explanation, 2), 'lba-num'], ['Mean, decoy', (row) => adminNumber(row.mean_decoy, 2), 'lba-num'],
    ['Difference (95 % interval)', (row) => studyEstimate(row, ['difference', 'low', 'high']), 'lbs-value'], ['', (row) => studyWhisker(row, rows, ['difference', 'low', 'high'])],
  ], rows, { label: 'Explanations against decoys' }), adminNode('p', 'lbx-soft', 'Where decoys are rated like explanations, the ratings do not follow the content of the maps.')];
}

function studyCorrelations(value) {
  const rows = value.analysis.correlations;
  if (!rows.length) return null;
  return [adminHead('Ratings and the measured scores of the same maps'), adminTable([
    studyQuestionColumn(value, rows), ['Score of the map', (row) => STUDY_SCORES[row.score] || row.score.replaceAll('_', ' ')], ['Maps', (row) => adminWhole(row.n), 'lba-num'], ['Spearman’s rho (95 % interval)', (row) => studyEstimate(row, ['rho', 'low', 'high']), 'lbs-value'], ['', (row) => studyWhisker(row, rows, ['rho', 'low', 'high'])],
  ], rows, { label: 'Correlation of ratings with scores of the maps' })];
}

function studyIntra(value) {
  const rows = value.analysis.intra;
  if (!rows.length) return null;
  return [adminHead('Each reader with himself or herself, on the hidden repeats'), adminTable([
    studyQuestionColumn(value, rows), ['Reader', (row) => row.reader || 'All readers'], ['Repeats', (row) => adminWhole(row.pairs), 'lba-num'],
    ['Kappa, quadratic (95 % interval)', (row) => studyEstimate({ value: row.kappa_quadratic, low: row.low, high: row.high, reason: row.reasons[0] }), 'lbs-value'], ['ICC(2,1)', (row) => adminNumber(row.icc, 2), 'lba-num'], ['Within-reader SD', (row) => adminNumber(row.within_sd, 2), 'lba-num'],
  ], rows, { label: 'Agreement on hidden repeats' })];
}

function studyFormScores(value) {
  const rows = value.analysis.forms;
  if (!rows.length) return null;
  const titles = { scs: 'System Causability Scale (0.2 to 1)', ess: 'Explanation Satisfaction Scale (1 to 5)', sus: 'System Usability Scale (0 to 100)', nasa_tlx: 'NASA-TLX, raw (0 to 100)' };
  return [adminHead('Questionnaires'), adminTable([
    ['Form', (row) => adminNode('span', 'lba-strong', titles[row.form] || row.form), 'lba-long'], ['Mean (95 % interval)', (row) => studyEstimate(row, ['mean', 'low', 'high']), 'lbs-value'], ['Each reader', (row) => adminNode('span', 'lbx-soft lbx-number', Object.entries(row.scores).map(([name, score]) => `${name} ${adminNumber(score, score < 10 ? 2 : 0)}`).join(', ') || '–'), 'lba-long'],
  ], rows, { label: 'Scores of the questionnaires' })];
}

function studySensitivity(value) {
  const rows = value.analysis.sensitivity;
  if (!rows.length) return null;
  return [adminHead('How much hangs on a part of the data'), adminNode('p', 'lbx-soft', 'Kappa with quadratic weights, with a reader left out, without decoys, and only where the model was wrong.'), adminTable([
    studyQuestionColumn(value, rows), ['Data', (row) => (row.left_out ? `Without reader ${row.left_out}` : STUDY_PARTS[row.kind] || row.kind.replaceAll('_', ' '))], ['Items', (row) => adminWhole(row.cases), 'lba-num'], ['Kappa (95 % interval)', (row) => studyEstimate(row), 'lbs-value'], ['', (row) => studyWhisker(row, rows, ['value', 'low', 'high'])],
  ], rows, { label: 'Sensitivity of kappa' })];
}

function studyFlagged(value) {
  const n = value.flags;
  return n ? [adminHead('For adjudication'), adminNode('p', '', `${adminWhole(n)} ${n === 1 ? 'item has' : 'items have'} ratings two or more points apart, or ${n === 1 ? 'is' : 'are'} missing most ratings. They are listed on the tab “Adjudication”; the numbers on this page use the readers’ own answers.`)] : null;
}
