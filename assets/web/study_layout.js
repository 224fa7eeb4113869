// Design: who reads what, in which order, with which repeats and limits.

const STUDY_CROSSINGS = [['crossed', 'Fully crossed: everybody reads every case'], ['split_plot', 'Split-plot: groups of readers read their own cases'], ['anchor', 'Anchor set: a common part for all, the rest divided']];
const STUDY_ORDERS = [['independent', 'Independent: the conditions of a case are read apart'], ['sequential', 'Sequential: one after the other, each handed in before the next is shown']];

function studyLayout(page) {
  const { draft } = page.keep, { design } = draft, frozen = !studyMay(page, 'layout'), at = () => draftOf(page).design;
  const pick = (name, label, options) => {
    const select = adminSelect(`layout-${name}`, options, design[name]);
    adminSet(select, { disabled: frozen });
    select.addEventListener('change', () => { at()[name] = select.value; studyChanged(page); });
    return adminField(label, select);
  };
  const number = (name, label, help, { of = at, redraw = false, least = 0, share = 1, whole = true } = {}) => {
    const input = adminInput(`layout-${name}`, { value: String(Number((of()[name] * share).toFixed(4))), numeric: true }), field = adminField(label, input, help);
    adminSet(input, { disabled: frozen });
    input.addEventListener('input', () => {
      const value = Number(input.value.replace(',', '.')), good = input.value.trim() && Number.isFinite(value) && value >= least && (!whole || Number.isInteger(value));
      field.say(good ? '' : `Please give ${whole ? 'a whole number' : 'a number'} of at least ${least}.`);
      if (good) { of()[name] = value / share; studyChanged(page, redraw); }
    });
    return field;
  };
  const isCrossed = design.crossing === 'crossed', isSequential = design.order === 'sequential', many = design.sessions > 1;
  const told = `${STUDY_CROSSINGS.find(([id]) => id === design.crossing)[1].split(':')[0]}, ${design.order}${many && !isSequential ? `, ${design.sessions} sessions` : ''}${design.repeats ? `, ${design.repeats} hidden repeats` : ''}`;
  return studyFold('fold-layout', '6  Order, sessions and repeats', told, true,
    adminNode('div', 'lbs-two', pick('crossing', 'Who reads what', STUDY_CROSSINGS), pick('order', 'Conditions of one case', STUDY_ORDERS)),
    adminNode('div', 'lbs-three',
      design.crossing === 'split_plot' ? number('groups', 'Groups', 'Of readers, and of cases.', { least: 2 }) : null,
      design.crossing === 'anchor' ? number('anchors', 'Cases in the common part', 'The first of the list; agreement is estimated from them.', { least: 1 }) : null,
      isSequential ? null : number('sessions', 'Sessions', 'With more than one, the conditions are spread over them.', { least: 1, redraw: true }),
      many && !isSequential ? number('washout_days', 'Washout, days', 'Least time between two sessions; 28 is usual. It is enforced.', { whole: false }) : null,
      number('repeats', 'Hidden repeats per reader', 'Readings shown a second time; 10 to 20 % are usual.'),
      number('repeat_gap', 'Positions before a repeat', 'At least so many readings in between.'),
      number('case_gap', 'Positions between readings of one case', 'Where the list allows it.'),
      number('session_readings', 'Most readings in a sitting', 'A break is offered then.', { least: 1 }),
      number('session_minutes', 'Longest sitting, minutes', 'A break is offered then.', { least: 1 }),
      number('pass_share', 'Warm-up answers that must be right, %', '0: no criterion.', { share: 100, whole: false }),
      number('seed', 'Seed', 'Of every order and letter; it makes the plan repeatable.', { of: () => draftOf(page) })),
    adminNode('div', 'lbs-checks', studyBox('Handed-in answers can be changed (every version is kept)', design.allow_changes, (on) => { at().allow_changes = on; studyChanged(page, false); }, { key: 'layout-changes', reason: frozen ? 'This is frozen.' : '' }),
      studyBox('Show the probability beside a prediction', design.show_prediction_score, (on) => { at().show_prediction_score = on; studyChanged(page, false); }, { key: 'layout-score', reason: frozen ? 'This is frozen.' : '' })),
    isCrossed ? null : adminNode('p', 'lbx-soft', 'Look at the cases that each pair of readers shares, on the right: where they share none, their agreement cannot be estimated.'));
}
