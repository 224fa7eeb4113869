// The evidence panel, part 5: one map or several, large and side by side with the image and with their scores.

function evidenceEnlarge(ev, methods) {
  ev.large = methods.length ? { methods, case: ev.value.case, target: ev.value.target } : null;
  evidenceLarge(ev);
  if (ev.large && !ev.part.large.open) ev.part.large.showModal();
}

// Fills the view in place; it closes by itself when another case or class arrives.
function evidenceLarge(ev) {
  const { part, value, large } = ev;
  const isStale = !large || !value || large.case !== value.case || large.target !== value.target;
  const shown = isStale ? [] : evidenceDrawn(ev).filter((each) => large.methods.includes(each.id));
  if (!shown.length) {
    ev.large = null;
    if (part.large.open) part.large.close();
    part.views.replaceChildren();
    return;
  }
  const image = evidenceImage(ev);
  evidenceText(part.largetitle, shown.length === 1 ? shown[0].title : `${shown.length} maps side by side`);
  evidenceText(part.largeabout, `${value.case} \u00b7 ${image.title} \u00b7 evidence for ${value.target}`);
  for (const button of part.large.querySelectorAll('[data-step]')) evidenceHide(button, shown.length !== 1 || evidenceDrawn(ev).length < 2);
  part.views.classList.toggle('is-many', shown.length > 1);
  evidenceStyle(part.views, '--lbe-ratio', `${(image.width || 1) / (image.height || 1)}`);
  const columns = evidenceColumns(shown, value.metrics || [], image);
  evidenceEach(part.views, [{ id: '' }, ...shown], (each) => each.id, evidenceView, (node, each) => {
    if (each.id) evidenceViewFill(ev, node, each, image, columns);
    else {
      evidencePicture(node.evidence.picture, evidenceAddress(ev, evidenceTileOf(image, image.tile)), `${image.title}, without heat`);
      evidenceText(node.evidence.caption, `${image.title}, without heat`);
    }
  });
}

// The same picture in a size for the large view, where the value says that the server can draw one.
function evidenceTileOf(image, tile) {
  return Number.isFinite(image.large) && tile ? `${tile}${String(tile).includes('?') ? '&' : '?'}size=${image.large}` : tile;
}

function evidenceDrawn(ev) {
  const image = evidenceImage(ev);
  return ev.value ? evidenceMethods(ev.value).filter((each) => each.state === 'done' && evidenceMap(each, image)) : [];
}

function evidenceView(each) {
  const node = evidenceNode('figure', 'lbe-view'), picture = node.appendChild(evidenceMade('')), caption = node.appendChild(evidenceNode('figcaption', ''));
  node.evidence = { picture, caption };
  if (!each.id) return node;
  const title = caption.appendChild(evidenceNode('h3', '')), flag = caption.appendChild(evidenceNode('p', 'lbe-flag'));
  const summary = caption.appendChild(evidenceNode('p', '')), limits = caption.appendChild(evidenceNode('p', 'lbx-soft')), tags = caption.appendChild(evidenceNode('p', 'lbe-tags'));
  const table = caption.appendChild(evidenceNode('table', 'lbe-scores')), none = caption.appendChild(evidenceNode('p', 'lbx-soft', 'Not measured yet.'));
  const rows = table.appendChild(evidenceNode('tbody', '')), show = caption.appendChild(evidenceNode('button', '', 'Show in Review'));
  show.dataset.do = 'show';
  node.evidence = { picture, title, flag, summary, limits, tags, table, none, rows, show };
  return node;
}

function evidenceViewFill(ev, node, method, image, columns) {
  const own = node.evidence, map = evidenceMap(method, image);
  evidenceData(node, 'method', method.id);
  evidencePicture(own.picture, evidenceAddress(ev, evidenceTileOf(image, map.tile), 'map'), `${method.title} over ${image.title}`);
  evidenceText(own.title, method.title);
  evidenceLine(own.flag, method.flag || '');
  evidenceText(own.summary, method.summary);
  evidenceText(own.limits, `What it cannot say: ${method.limits}`);
  evidenceLine(own.tags, [map.localised === false ? 'No localised evidence' : '', ...evidenceTags(method, map)].filter(Boolean).join(' \u00b7 '));
  const scores = evidenceScores(method, image);
  evidenceHide(own.table, !scores.size);
  evidenceHide(own.none, scores.size > 0);
  evidenceEach(own.rows, columns, (column) => column.key, () => {
    const row = evidenceNode('tr', ''), head = row.appendChild(evidenceNode('th', ''));
    head.scope = 'row';
    row.evidence = { head, value: row.appendChild(evidenceNode('td', 'lbx-number')), chance: row.appendChild(evidenceNode('td', 'lbx-soft lbx-number')) };
    return row;
  }, (row, column) => {
    const score = scores.get(column.key);
    evidenceText(row.evidence.head, `${column.title} ${evidenceArrow(column.better)}`.trim());
    evidenceSet(row, 'title', evidenceScoreNote(score));
    evidenceText(row.evidence.value, evidenceScoreText(score));
    evidenceText(row.evidence.chance, score && Number.isFinite(score.chance) ? `chance ${evidenceNumber(score.chance)}` : '');
  });
}

// The map before or after the one that is shown large.
function evidenceStep(ev, step) {
  const drawn = evidenceDrawn(ev), here = ev.large && ev.large.methods.length === 1 ? drawn.findIndex((each) => each.id === ev.large.methods[0]) : -1;
  if (here >= 0) evidenceEnlarge(ev, [drawn[(here + step + drawn.length) % drawn.length].id]);
}
