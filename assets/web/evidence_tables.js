// The evidence panel, part 7: where the methods agree, and how much heat each region holds.

function evidenceAgree(ev) {
  const box = ev.part.agree, image = evidenceImage(ev), of = (list) => (list || []).find((each) => each.image === image.image) || null;
  const both = of(ev.value.agreement), joint = of(ev.value.consensus), count = both ? both.methods.length : 0;
  const none = evidenceChild(box, 'none', () => evidenceNode('p', 'lbe-none'));
  evidenceText(none, 'Methods can be compared once two of them have drawn a map of this image.');
  evidenceHide(none, count > 1 || Boolean(joint));
  const body = evidenceChild(box, 'body', evidenceAgreeBody), own = body.evidence;
  evidenceHide(body, !none.hidden);
  if (body.hidden) return;
  evidenceHide(own.joint, !joint);
  if (joint) {
    evidencePicture(own.picture, evidenceAddress(ev, joint.tile, 'consensus'), `Consensus of ${joint.methods} methods over ${image.title}`);
    evidenceText(own.caption, `Consensus of ${joint.methods} ${joint.methods === 1 ? 'method' : 'methods'}: where their maps, ranked alike, are hot together.`);
  }
  evidenceHide(own.matrix, count < 2);
  if (count > 1) evidenceMatrix(own, both);
}

function evidenceAgreeBody() {
  const node = evidenceNode('div', 'lbe-agree'), joint = node.appendChild(evidenceNode('figure', 'lbe-joint'));
  const picture = joint.appendChild(evidenceMade('')), caption = joint.appendChild(evidenceNode('figcaption', 'lbx-soft'));
  const matrix = node.appendChild(evidenceNode('div', 'lbe-matrix')), legend = matrix.appendChild(evidenceNode('p', 'lbx-soft lbe-legend'));
  legend.append(evidenceNode('i', 'is-rank'), 'Lower left: rank correlation, 1 when two maps order all places alike. ', evidenceNode('i', 'is-against'), 'Below 0: one is hot where the other is cold. ', evidenceNode('i', 'is-share'), 'Upper right: overlap of the hottest tenths, 1 when they are the same.');
  const scroll = matrix.appendChild(evidenceNode('div', 'lbe-scroll')), table = scroll.appendChild(evidenceNode('table', ''));
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', 'Agreement of all pairs of methods');
  const heads = table.appendChild(evidenceNode('thead', '')).appendChild(evidenceNode('tr', '')), rows = table.appendChild(evidenceNode('tbody', ''));
  matrix.append(evidenceNode('p', 'lbx-soft', 'Methods may agree and all be wrong.'));
  node.evidence = { joint, picture, caption, matrix, heads, rows };
  return node;
}

function evidenceMatrix({ heads, rows }, both) {
  const { methods } = both, cell = (tag, scope) => () => { const node = evidenceNode(tag, ''); if (scope) node.scope = scope; return node; };
  evidenceEach(heads, ['', ...methods], (_, place) => place, cell('th', 'col'), (node, title, place) => {
    evidenceText(node, place ? String(place) : 'Method');
    evidenceSet(node, 'title', title);
    evidenceSet(node, 'aria-label', title || 'Method');
  });
  evidenceEach(rows, methods, (_, place) => place, () => evidenceNode('tr', ''), (row, title, across) => {
    evidenceEach(row, ['', ...methods], (_, place) => place, (each) => (each === '' ? cell('th', 'row')() : cell('td')()), (node, other, place) => {
      if (!place) { evidenceText(node, `${across + 1}  ${title}`); return; }
      const down = place - 1, isRank = across > down, value = across === down ? null : ((isRank ? both.rank : both.iou)[across] || [])[down];
      evidenceText(node, across === down ? '' : evidenceNumber(value));
      evidenceTint(node, value, across === down ? 'is-same' : isRank ? 'is-rank' : 'is-share');
      const kind = isRank ? 'rank correlation' : 'overlap of the hottest tenths';
      evidenceSet(node, 'title', across === down ? '' : `${title} and ${methods[down]}: ${kind} ${Number.isFinite(value) ? evidenceNumber(value) : 'undefined'}`);
    });
  });
}

// The stronger the tint, the farther from nought; what runs against one another has a tint of its own.
function evidenceTint(node, value, kind) {
  const name = [kind, kind === 'is-rank' && value < 0 ? 'is-against' : ''].filter(Boolean).join(' ');
  if (node.className !== name) node.className = name;
  evidenceStyle(node, '--lbe-much', `${Number.isFinite(value) ? Math.round(62 * Math.min(1, Math.abs(value))) : 0}%`);
}

// ---- heat inside each region -----------------------------------------------------------------------------

const EVIDENCE_KINDS = { model: 'found by the model', reader: 'drawn by a reader', reference: 'reference annotation' };
const EVIDENCE_HEAT = [
  ['Mean', 'mean', 'Mean heat inside the region, the map being scaled from 0 to 1.'],
  ['Largest', 'max', 'Largest heat inside the region, the map being scaled from 0 to 1.'],
  ['Covered', 'coverage', 'Share of the region that is hot.'],
  ['Share of heat', 'share', 'Share of all heat of the map that lies inside the region.'],
];

function evidenceHeat(ev) {
  const box = ev.part.heat, image = evidenceImage(ev), regions = (ev.value.regions || []).filter((each) => each.image === image.image && (each.rows || []).length);
  const none = evidenceChild(box, 'none', () => evidenceNode('p', 'lbe-none')), list = evidenceChild(box, 'list', () => evidenceNode('div', 'lbe-regions'));
  evidenceText(none, 'No region is known in this image. Regions come from the model, from a reader or from a reference annotation.');
  evidenceHide(none, regions.length > 0);
  evidenceHide(list, !regions.length);
  evidenceEach(list, regions, (region, place) => `${region.kind} ${region.label} ${place}`, evidenceRegion, (node, region) => {
    evidenceText(node.evidence.name, region.label);
    evidenceText(node.evidence.kind, EVIDENCE_KINDS[region.kind] || region.kind);
    evidenceEach(node.evidence.rows, region.rows, (row) => row.method, evidenceRegionRow, (line, row) => {
      evidenceText(line.evidence.title, row.title);
      EVIDENCE_HEAT.forEach(([, field], place) => {
        const isShare = place > 1;
        evidenceText(line.evidence.numbers[place], isShare ? evidencePercent(row[field]) : evidenceNumber(row[field]));
        evidenceStyle(line.evidence.numbers[place].parentNode, '--lbe-share', `${isShare && Number.isFinite(row[field]) ? 100 * Math.min(1, Math.max(0, row[field])) : 0}%`);
      });
      evidenceText(line.evidence.text, row.text);
    });
  });
}

function evidenceRegion() {
  const node = evidenceNode('div', 'lbe-region'), title = node.appendChild(evidenceNode('h3', '')), scroll = node.appendChild(evidenceNode('div', 'lbe-scroll'));
  const name = title.appendChild(evidenceNode('b', '')), kind = title.appendChild(evidenceNode('span', 'lbx-badge')), table = scroll.appendChild(evidenceNode('table', ''));
  const head = table.appendChild(evidenceNode('thead', '')).appendChild(evidenceNode('tr', ''));
  for (const [words, , about] of [['Method', '', ''], ...EVIDENCE_HEAT, ['In words', '', '']]) {
    const cell = head.appendChild(evidenceNode('th', '', words));
    cell.scope = 'col';
    evidenceSet(cell, 'title', about);
  }
  node.evidence = { name, kind, rows: table.appendChild(evidenceNode('tbody', '')) };
  return node;
}

function evidenceRegionRow() {
  const line = evidenceNode('tr', ''), title = line.appendChild(evidenceNode('th', ''));
  title.scope = 'row';
  const numbers = EVIDENCE_HEAT.map((_, place) => line.appendChild(evidenceNode('td', place > 1 ? 'lbx-number is-share' : 'lbx-number')).appendChild(evidenceNode('span', '')));
  line.evidence = { title, numbers, text: line.appendChild(evidenceNode('td', 'lbe-words')) };
  return line;
}
