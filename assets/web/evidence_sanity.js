// The evidence panel, part 8: the maps of a model whose weights are destroyed step by step.

const EVIDENCE_WHY = 'What the model has learnt is destroyed part after part, from its answer back to its input. A map that still looks the same at the end shows the image, not what the model learnt.';
const EVIDENCE_VERDICTS = {
  passes: ['Passes', 'The map changes when the model is destroyed.'],
  fails: ['Fails', 'The map stays when the model is destroyed.'],
  'not applicable': ['Not applicable', ''],
};

function evidenceSanity(ev) {
  const box = ev.part.sanity, given = ev.value.randomisation || { state: 'none' }, methods = given.methods || [], isBusy = EVIDENCE_BUSY.includes(given.state);
  const about = evidenceChild(box, 'about', () => evidenceNode('p', 'lbe-about'));
  const none = evidenceChild(box, 'none', () => evidenceEmpty('randomise', 'Test against random weights'));
  const isFit = ev.value.measurable !== false;
  evidenceText(about, `${given.note || EVIDENCE_WHY} The number under each picture is its rank correlation with the map as trained: near 0, nothing is left of it.`);
  evidenceHide(none, methods.length > 0);
  evidenceHide(none.evidence.button, isBusy || !isFit);
  evidenceText(none.evidence.text, !isFit ? EVIDENCE_UNFIT : isBusy ? 'The test is under way; the maps appear here when it is done.'
    : given.state === 'failed' ? 'The test did not succeed.' : given.state === 'cancelled' ? 'The test was cancelled.' : 'Not tested yet for this case and class.');
  const scroll = evidenceChild(box, 'scroll', evidenceSanityTable);
  evidenceHide(scroll, !methods.length);
  if (scroll.hidden) return;
  evidenceStyle(scroll, '--lbe-stages', String((given.stages || []).length + 1));
  const { heads, rows } = scroll.evidence, stages = given.stages || [];
  evidenceEach(heads, ['Method', 'As trained', ...stages.map((stage) => `+ ${stage}`)], (_, place) => place, () => {
    const cell = evidenceNode('th', '');
    cell.scope = 'col';
    return cell;
  }, (cell, words) => evidenceText(cell, words));
  evidenceEach(rows, methods, (method) => method.id, evidenceSanityRow, (row, method) => evidenceSanityFill(ev, row, method, stages));
}

function evidenceSanityTable() {
  const scroll = evidenceNode('div', 'lbe-scroll'), table = scroll.appendChild(evidenceNode('table', 'lbe-cascade'));
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', 'Maps while the weights are destroyed');
  const heads = table.appendChild(evidenceNode('thead', '')).appendChild(evidenceNode('tr', ''));
  scroll.evidence = { heads, rows: table.appendChild(evidenceNode('tbody', '')) };
  return scroll;
}

function evidenceSanityRow() {
  const row = evidenceNode('tr', ''), head = row.appendChild(evidenceNode('th', ''));
  head.scope = 'row';
  row.evidence = { title: head.appendChild(evidenceNode('b', '')), verdict: head.appendChild(evidenceNode('p', 'lbe-verdict')), text: head.appendChild(evidenceNode('p', 'lbx-soft')) };
  return row;
}

function evidenceSanityFill(ev, row, method, stages) {
  const own = row.evidence, [name, sentence] = EVIDENCE_VERDICTS[method.verdict] || [String(method.verdict || ''), ''];
  evidenceText(own.title, method.title);
  evidenceText(own.verdict, name);
  own.verdict.classList.toggle('is-bad', method.verdict === 'fails');
  own.verdict.classList.toggle('is-good', method.verdict === 'passes');
  evidenceLine(own.text, method.text || sentence);
  const tiles = ['', ...stages].map((stage, place) => ({ stage, place, tile: (method.tiles || [])[place], likeness: place ? (method.spearman || [])[place - 1] : null }));
  const head = own.title.parentNode;
  head.dataset.key = 'head';
  evidenceEach(row, [{ place: 'head' }, ...tiles], (each) => each.place, evidenceStage, (cell, each) => {
    if (each.place === 'head') return;
    const words = each.place ? `after ${each.stage}` : 'as trained';
    evidenceHide(cell.evidence.picture, !each.tile);
    if (each.tile) evidencePicture(cell.evidence.picture, evidenceAddress(ev, each.tile, 'map'), `${method.title}, ${words}`);
    evidenceText(cell.evidence.number, each.place ? evidenceNumber(each.likeness) : '\u00a0');
    evidenceSet(cell, 'title', each.place ? `Rank correlation with the trained map ${words}: ${Number.isFinite(each.likeness) ? evidenceNumber(each.likeness) : 'undefined'}` : '');
  });
}

function evidenceStage() {
  const cell = evidenceNode('td', ''), picture = cell.appendChild(evidenceMade('', { loading: 'lazy' }));
  cell.evidence = { picture, number: cell.appendChild(evidenceNode('span', 'lbx-number')) };
  return cell;
}
