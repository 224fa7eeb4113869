// The evidence panel, part 2: the bar of choices, and the four pieces of work that can be started for all maps.

const EVIDENCE_ACTIONS = [
  { id: 'run', title: 'Run all slow methods', of: () => null,
    about: 'Draws the maps of all methods that run the model many times. The work goes on in the background and can be cancelled.' },
  { id: 'measure', title: 'Measure', of: (value) => value.measured,
    about: 'Erases and uncovers the image along each map and watches the probability; where the lesion is known, asks whether the heat lies on it.' },
  { id: 'stability', title: 'Test stability', of: (value) => value.stability,
    about: 'Draws each map again under faint noise, small shifts and changes of brightness.' },
  { id: 'randomise', title: 'Test against random weights', of: (value) => value.randomisation,
    about: 'Destroys what the model has learnt, step by step, and draws each map again.' },
];

const EVIDENCE_UNFIT = 'This is measured for classes only. Choose a class above instead of the segmented lesion.';

function evidenceTop(ev) {
  const { part, value, view } = ev, model = value.model || {};
  evidenceText(part.case, value.case);
  evidenceText(part.model, [model.title, model.version && `version ${model.version}`].filter(Boolean).join(' \u00b7 '));
  evidenceSet(part.model, 'title', model.weights ? `Weights ${model.weights}` : '');
  evidenceLine(part.notice, value.notice || '');
  evidenceSet(part.notice, 'class', value.problem ? 'lbx-note' : 'lbx-soft');
  const wanted = ev.wanted || value.target;
  evidenceEach(part.targets, value.targets || [], (name) => name, () => evidenceNode('button', ''), (button, name) => {
    evidenceData(button, 'target', name);
    evidenceText(button, name);
    evidenceSet(button, 'aria-pressed', String(name === wanted));
  });
  const image = evidenceImage(ev);
  evidenceHide(part.imagebox, (value.images || []).length < 2);
  evidenceEach(part.images, value.images || [], (each) => each.image, () => evidenceNode('button', ''), (button, each) => {
    evidenceData(button, 'image', each.image);
    evidenceText(button, each.title);
    evidenceSet(button, 'aria-pressed', String(each.image === image.image));
  });
  for (const button of part.scales.children) evidenceSet(button, 'aria-pressed', String(button.dataset.scale === view.scale));
  part.native.checked = view.native;
  evidenceSet(part.smooth, 'disabled', view.native ? 'disabled' : '');
  if (Number(part.smooth.value) !== view.smooth) part.smooth.value = String(view.smooth);
  const unit = image.unit ? ` ${image.unit}` : '';
  evidenceText(part.smoothed, view.smooth && !view.native ? `${view.smooth}${unit}` : 'off');
  evidenceSet(part.smooth, 'aria-valuetext', view.smooth && !view.native ? `${view.smooth}${unit}` : 'off');
  evidenceText(part.scaleword, view.scale === 'common'
    ? 'Same colour, same rank: the colder half of each map stays clear, and its hottest places are drawn alike in all maps.'
    : 'Each map is drawn from its own smallest to its own largest value, so that places can be compared but not strengths. Maps of single pixels are softened to be seen; the native grid shows them as they are.');
}

function evidenceActions(ev) {
  const slow = evidenceMethods(ev.value).filter((each) => each.slow && each.state !== 'refused');
  evidenceEach(ev.part.actions, EVIDENCE_ACTIONS, (action) => action.id, evidenceActionNode, (node, action) => {
    const work = action.id === 'run' ? evidenceSlowWork(slow) : evidenceWholeWork(ev, action);
    const { button, bar, say } = node.evidence, isBusy = EVIDENCE_BUSY.includes(work.state);
    const waits = ev.asked.has(action.id), verb = work.cancel && isBusy ? 'cancel' : action.id;
    evidenceText(button, waits ? 'Asking\u2026' : verb === 'cancel' ? 'Cancel' : work.label || action.title);
    evidenceSet(button, 'aria-label', verb === 'cancel' ? `Cancel: ${action.title}` : '');
    evidenceSet(button, 'title', verb === 'cancel' ? '' : action.about);
    evidenceSet(button, 'aria-disabled', waits || work.idle || (isBusy && !work.cancel) ? 'true' : '');
    evidenceSet(button, 'data-do', verb);
    evidenceSet(button, 'data-job', work.cancel || '');
    const progress = isBusy ? evidenceProgress(work.state, work.job) : { share: null };
    evidenceHide(bar, !isBusy);
    evidenceBar(bar, progress, action.title);
    const words = isBusy ? [verb === 'cancel' ? action.title : '', progress.words, progress.left].filter(Boolean).join(' \u00b7 ') : work.say;
    evidenceText(say, words);
    say.classList.toggle('lbx-bad', work.state === 'failed');
  });
}

function evidenceActionNode() {
  const node = evidenceNode('li', 'lbe-action');
  const button = node.appendChild(evidenceNode('button', '')), side = node.appendChild(evidenceNode('div', ''));
  const say = side.appendChild(evidenceNode('p', 'lbx-soft lbx-number')), bar = side.appendChild(evidenceNode('progress', ''));
  bar.max = 1;
  node.evidence = { button, bar, say };
  return node;
}

// The slow methods together: how many are drawn, and what could still be started.
function evidenceSlowWork(slow) {
  const left = slow.filter((each) => !['done', ...EVIDENCE_BUSY].includes(each.state)), busy = slow.filter((each) => EVIDENCE_BUSY.includes(each.state));
  const drawn = slow.filter((each) => each.state === 'done').length, count = `${drawn} of ${slow.length} drawn`;
  const say = !slow.length ? 'None for this model' : busy.length ? `${count}, ${busy.length} under way` : count;
  return { state: '', say, idle: !left.length, label: '' };
}

function evidenceWholeWork(ev, action) {
  const work = action.of(ev.value) || { state: 'none' }, said = { done: 'Done', failed: work.reason || (work.job && work.job.message) || 'It did not succeed', cancelled: 'Cancelled' };
  if (ev.value.measurable === false) return { state: 'none', say: 'For classes only', idle: true };
  const cancel = work.job && work.job.id ? work.job.id : '';
  return { state: work.state, job: work.job, cancel, say: said[work.state] || 'Not done yet', label: work.state === 'failed' ? `${action.title} again` : '' };
}
