// The evidence panel, part 6: all methods against all metrics, with direction, chance and sample size.

const EVIDENCE_FAMILIES = { faithfulness: 'Faithfulness', localisation: 'Localisation', stability: 'Stability', complexity: 'Complexity', agreement: 'Agreement' };
const EVIDENCE_BETTER = { higher: 'higher is better', lower: 'lower is better' };

function evidenceArrow(better) {
  return { higher: '\u2191', lower: '\u2193' }[better] || '';
}

// Scores of one method in one image by column; a metric measured in several ways has a column for each.
function evidenceScores(method, image) {
  const found = new Map();
  for (const score of method.scores || []) {
    if (Number.isFinite(score.image) && score.image !== image.image) continue;
    const name = `${score.metric}|${score.title || ''}`;
    let key = name;
    for (let again = 2; found.has(key); again += 1) key = `${name}|${again}`;
    found.set(key, score);
  }
  return found;
}

// Columns that hold at least one score, in the order of the metrics.
function evidenceColumns(methods, metrics, image) {
  const columns = new Map(), order = new Map(metrics.map((metric, place) => [metric.id, place]));
  for (const method of methods) {
    for (const [key, score] of evidenceScores(method, image)) {
      const known = columns.get(key);
      if (known) evidenceChances(known, score);
      if (known) continue;
      const metric = metrics[order.get(score.metric)] || {};
      columns.set(key, { chances: Number.isFinite(score.chance) ? [score.chance] : [], key, metric, title: evidenceScoreTitle(score, metric, image), family: metric.family || 'other',
        better: metric.better || score.better, unit: metric.unit || score.unit || '', place: order.has(score.metric) ? order.get(score.metric) : metrics.length });
    }
  }
  const families = Object.keys(EVIDENCE_FAMILIES), rank = (column) => (families.includes(column.family) ? families.indexOf(column.family) : families.length);
  return [...columns.values()].sort((a, b) => rank(a) - rank(b) || a.place - b.place);
}

// The image is chosen above the table and need not be named in each column.
function evidenceScoreTitle(score, metric, image) {
  const title = String(score.title || metric.title || score.metric), end = `, ${image.title}`;
  return title.endsWith(end) ? title.slice(0, -end.length) : title;
}

// Most chance levels depend on the lesion alone: then the head of the column says it once.
function evidenceChances(column, score) {
  if (Number.isFinite(score.chance) && !column.chances.some((each) => Math.abs(each - score.chance) < 5e-4)) column.chances.push(score.chance);
}

function evidenceScoreText(score) {
  return score && Number.isFinite(score.value) ? score.text || evidenceNumber(score.value) : '\u2014';
}

// Sample size and remark of one score, or why there is none.
function evidenceScoreNote(score) {
  if (!score) return 'Not measured for this map.';
  const chance = Number.isFinite(score.chance) ? `Chance level ${evidenceNumber(score.chance)}.` : '';
  return [Number.isFinite(score.value) ? '' : 'No number.', score.note || '', chance, Number.isFinite(score.n) && score.n > 0 ? `n = ${score.n}.` : ''].filter(Boolean).join(' ');
}

function evidenceTrust(ev) {
  const box = ev.part.trust, image = evidenceImage(ev), methods = evidenceMethods(ev.value).filter((each) => evidenceScores(each, image).size);
  const all = evidenceColumns(methods, ev.value.metrics || [], image), families = [...new Set(all.map((column) => column.family))];
  const none = evidenceChild(box, 'none', () => evidenceEmpty('measure', 'Measure'));
  const busy = EVIDENCE_BUSY.includes((ev.value.measured || {}).state);
  const isFit = ev.value.measurable !== false;
  evidenceText(none.evidence.text, !isFit ? EVIDENCE_UNFIT : busy ? 'Measuring. The numbers appear here as soon as they are known.'
    : 'Nothing has been measured yet. Measuring erases and uncovers the image along each map and watches what the model says; where the lesion is known, it also asks whether the heat lies on it.');
  evidenceHide(none.evidence.button, busy || !isFit);
  evidenceHide(none, all.length > 0);
  const chips = evidenceChild(box, 'chips', () => evidenceNode('div', 'lbx-row lbe-chips')), scroll = evidenceChild(box, 'scroll', evidenceTrustTable);
  const foot = evidenceChild(box, 'foot', () => evidenceNode('p', 'lbx-soft lbe-foot',
    '\u2191 higher is better, \u2193 lower is better; the best of each column is underlined. Small print: what a map without information would get. \u2014 no number; open the row for the reason.'));
  for (const node of [chips, scroll, foot]) evidenceHide(node, !all.length);
  if (!all.length) return;
  evidenceEach(chips, families, (family) => family, () => evidenceNode('button', ''), (button, family) => {
    evidenceData(button, 'family', family);
    evidenceText(button, EVIDENCE_FAMILIES[family] || 'Other');
    evidenceSet(button, 'aria-pressed', String(!ev.view.hidden.has(family)));
  });
  const columns = all.filter((column) => !ev.view.hidden.has(column.family));
  evidenceTrustHead(ev, scroll.evidence, columns);
  evidenceTrustRows(ev, scroll.evidence, methods, columns, image);
}

function evidenceEmpty(verb, title) {
  const node = evidenceNode('div', 'lbe-none'), text = node.appendChild(evidenceNode('p', '')), button = node.appendChild(evidenceNode('button', '', title));
  button.dataset.do = verb;
  node.evidence = { text, button };
  return node;
}

function evidenceTrustTable() {
  const scroll = evidenceNode('div', 'lbe-scroll'), table = scroll.appendChild(evidenceNode('table', 'lbe-trust')), head = table.appendChild(evidenceNode('thead', ''));
  const groups = head.appendChild(evidenceNode('tr', '')), heads = head.appendChild(evidenceNode('tr', '')), rows = table.appendChild(evidenceNode('tbody', ''));
  Object.assign(scroll, { tabIndex: 0 });
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', 'Scores of all methods');
  scroll.evidence = { groups, heads, rows };
  return scroll;
}

function evidenceTrustHead(ev, { groups, heads }, columns) {
  const runs = [{ key: '', span: 1 }];
  for (const column of columns) {
    if (runs[runs.length - 1].key === column.family) runs[runs.length - 1].span += 1;
    else runs.push({ key: column.family, span: 1 });
  }
  evidenceEach(groups, runs, (run) => run.key, () => evidenceNode('th', ''), (cell, run) => {
    evidenceSet(cell, 'colspan', run.span);
    evidenceSet(cell, 'scope', run.key ? 'colgroup' : 'col');
    evidenceText(cell, run.key ? EVIDENCE_FAMILIES[run.key] || 'Other' : '');
  });
  const { sort } = ev.view, starts = evidenceStarts(columns);
  evidenceEach(heads, [{ key: '' }, ...columns], (column) => column.key, () => {
    const cell = evidenceNode('th', ''), button = cell.appendChild(evidenceNode('button', ''));
    cell.scope = 'col';
    cell.evidence = { button, title: button.appendChild(evidenceNode('span', '')), arrow: button.appendChild(evidenceNode('i', '')), chance: button.appendChild(evidenceNode('small', '')) };
    return cell;
  }, (cell, column) => {
    evidenceData(cell.evidence.button, 'sort', column.key);
    evidenceText(cell.evidence.title, column.key ? column.title : 'Method');
    evidenceText(cell.evidence.arrow, column.key ? evidenceArrow(column.better) : '');
    evidenceLine(cell.evidence.chance, column.key && column.chances.length === 1 ? `chance ${evidenceNumber(column.chances[0])}` : '');
    const { metric } = column, about = metric ? [metric.summary, metric.limits, column.unit && `Unit: ${column.unit}.`, EVIDENCE_BETTER[column.better]] : [];
    evidenceSet(cell.evidence.button, 'title', [...about, 'Sort'].filter(Boolean).join(' '));
    evidenceSet(cell, 'aria-sort', sort && sort.key === column.key ? (sort.isUp ? 'ascending' : 'descending') : '');
    cell.classList.toggle('is-first', starts.has(column.key));
  });
}

function evidenceStarts(columns) {
  return new Set(columns.filter((column, place) => !place || columns[place - 1].family !== column.family).map((column) => column.key));
}

// The value that no other method betters, for a metric that has a direction.
function evidenceBest(table, key, better) {
  const values = [...table.values()].map((scores) => (scores.get(key) || {}).value).filter(Number.isFinite);
  if (values.length < 2 || !EVIDENCE_BETTER[better]) return null;
  return better === 'higher' ? Math.max(...values) : Math.min(...values);
}

function evidenceSorted(ev, methods, table) {
  const { sort } = ev.view;
  if (!sort) return methods;
  const value = (method) => (sort.key ? (table.get(method.id).get(sort.key) || {}).value : method.title), sign = sort.isUp ? 1 : -1;
  const isKnown = (each) => typeof each === 'string' || Number.isFinite(each);
  return [...methods].sort((a, b) => {
    const x = value(a), y = value(b);
    if (!isKnown(x) || !isKnown(y)) return isKnown(y) - isKnown(x); // what has no number stands last, whatever the order
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
}

// First the best on top, then the worst, then the order of the gallery again.
function evidenceSort(ev, key) {
  const { sort } = ev.view, methods = evidenceMethods(ev.value), column = evidenceColumns(methods, ev.value.metrics || [], evidenceImage(ev)).find((each) => each.key === key);
  const first = !key || (column && column.better === 'lower');
  if (!sort || sort.key !== key) ev.view.sort = { key, isUp: first };
  else ev.view.sort = sort.isUp === first ? { key, isUp: !first } : null;
  evidenceTrust(ev);
}

function evidenceTrustRows(ev, { rows }, methods, columns, image) {
  const table = new Map(methods.map((method) => [method.id, evidenceScores(method, image)]));
  const best = new Map(columns.map((column) => [column.key, evidenceBest(table, column.key, column.better)])), starts = evidenceStarts(columns);
  const lines = evidenceSorted(ev, methods, table).flatMap((method) => (ev.view.open.has(method.id) ? [{ method }, { method, isDetail: true }] : [{ method }]));
  evidenceEach(rows, lines, (line) => `${line.method.id}${line.isDetail ? ' detail' : ''}`, (line) => (line.isDetail ? evidenceDetail() : evidenceNode('tr', '')), (row, { method, isDetail }) => {
    const scores = table.get(method.id);
    if (isDetail) { evidenceDetailFill(row, scores, columns); return; }
    evidenceEach(row, [{ key: '' }, ...columns], (column) => column.key, (column) => (column.key ? evidenceCell() : evidenceRowHead()), (cell, column) => {
      if (column.key) evidenceCellFill(cell, scores.get(column.key), best.get(column.key), starts.has(column.key), column.chances.length > 1);
      else evidenceRowFill(ev, cell, method);
    });
  });
}

function evidenceRowHead() {
  const head = evidenceNode('th', ''), button = head.appendChild(evidenceNode('button', 'lbe-fold'));
  head.scope = 'row';
  head.evidence = { button, flag: head.appendChild(evidenceNode('p', 'lbe-flag')) };
  return head;
}

function evidenceRowFill(ev, { evidence: { button, flag } }, method) {
  evidenceData(button, 'row', method.id);
  evidenceText(button, method.title);
  evidenceSet(button, 'aria-expanded', String(ev.view.open.has(method.id)));
  evidenceLine(flag, method.flag || '');
}

function evidenceCell() {
  const cell = evidenceNode('td', 'lbx-number');
  cell.evidence = { value: cell.appendChild(evidenceNode('span', '')), chance: cell.appendChild(evidenceNode('small', '')) };
  return cell;
}

function evidenceCellFill(cell, score, best, isFirst, hasChance) {
  evidenceText(cell.evidence.value, evidenceScoreText(score));
  evidenceLine(cell.evidence.chance, hasChance && score && Number.isFinite(score.chance) ? `chance ${evidenceNumber(score.chance)}` : '');
  evidenceSet(cell, 'title', evidenceScoreNote(score));
  const isBest = Boolean(score) && best !== null && score.value === best;
  cell.classList.toggle('is-best', isBest);
  cell.classList.toggle('is-none', !score || !Number.isFinite(score.value));
  cell.classList.toggle('is-first', isFirst);
}

// Under a row: each of its numbers in words.
function evidenceDetail() {
  const row = evidenceNode('tr', 'lbe-detail'), cell = row.appendChild(evidenceNode('td', ''));
  row.evidence = { cell, list: cell.appendChild(evidenceNode('dl', '')) };
  return row;
}

function evidenceDetailFill(row, scores, columns) {
  evidenceSet(row.evidence.cell, 'colspan', columns.length + 1);
  evidenceEach(row.evidence.list, columns.filter((column) => scores.has(column.key)), (column) => column.key, () => {
    const group = evidenceNode('div', '');
    group.evidence = { name: group.appendChild(evidenceNode('dt', '')), what: group.appendChild(evidenceNode('dd', '')), note: group.appendChild(evidenceNode('dd', 'lbx-soft')) };
    return group;
  }, (group, column) => {
    const score = scores.get(column.key), unit = Number.isFinite(score.value) && column.unit ? ` ${column.unit}` : '';
    const way = EVIDENCE_BETTER[column.better];
    evidenceText(group.evidence.name, `${column.title}: ${evidenceScoreText(score)}${unit}${way ? `, ${way}` : ''}`);
    evidenceText(group.evidence.what, column.metric.summary || '');
    evidenceText(group.evidence.note, [evidenceScoreNote(score), column.metric.limits].filter(Boolean).join(' '));
  });
}
