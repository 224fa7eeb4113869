// The evidence panel, part 4: the maps of all methods as small multiples, family by family.

const EVIDENCE_DRAWN = ['done'];

function evidenceGallery(ev) {
  const { part, value } = ev, drawn = evidenceMethods(value).filter((each) => EVIDENCE_DRAWN.includes(each.state));
  ev.view.picked = ev.view.picked.filter((id) => drawn.some((each) => each.id === id));
  const image = evidenceImage(ev), ratio = (image.width || 1) / (image.height || 1);
  const longer = 212, width = Math.max(182, Math.round(longer * Math.min(1, ratio))), height = Math.round(longer * Math.min(1, 1 / ratio));
  evidenceStyle(part.body, '--lbe-width', `${width}px`);
  evidenceStyle(part.body, '--lbe-height', `${Math.max(120, height)}px`);
  evidenceStyle(part.body, '--lbe-tall', `${Math.min(2, Math.max(0.5, 1 / ratio))}`);
  evidenceEach(part.families, value.families || [], (family) => family.id, evidenceFamily, (node, family) => {
    const methods = family.methods || [], offered = methods.filter((each) => each.state !== 'refused');
    const { heading, list, refused } = node.evidence, [name, rest] = evidenceSplit(family.title);
    evidenceText(heading.firstChild, name);
    evidenceText(heading.lastChild, rest);
    evidenceHide(list, !offered.length);
    node.classList.toggle('is-away', !offered.length);
    evidenceEach(list, offered.length ? [{ id: '', reference: true }, ...offered] : [], (each) => each.id, evidenceTile, (tile, each) => {
      if (each.reference) evidenceReference(ev, tile, image);
      else evidenceFill(ev, tile, each, image);
    });
    const away = methods.filter((each) => each.state === 'refused');
    evidenceHide(refused, !away.length);
    evidenceEach(refused, away, (each) => each.id, () => evidenceNode('p', ''), (line, each) => {
      const title = evidenceChild(line, 'title', () => evidenceNode('b', '')), reason = evidenceChild(line, 'reason', () => evidenceNode('span', ''));
      evidenceText(title, each.title);
      evidenceText(reason, ` Not for this model. ${evidenceReason(each)}`);
    });
  });
  evidenceHide(part.tray, !ev.view.picked.length);
  const count = ev.view.picked.length;
  evidenceText(part.picked, `${count} ${count === 1 ? 'map' : 'maps'} chosen`);
}

// "Attention: where the model looks" is a name and an explanation.
function evidenceSplit(title) {
  const [name, ...rest] = String(title).split(': ');
  return [name, rest.join(': ')];
}

// Many refusals begin with the method's own name, which stands in front of them already.
function evidenceReason(method) {
  const reason = String(method.reason || '');
  const rest = reason.startsWith(`${method.title}: `) ? reason.slice(method.title.length + 2) : reason;
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

function evidenceFamily() {
  const node = evidenceNode('section', 'lbe-family'), heading = node.appendChild(evidenceNode('h3', ''));
  heading.append(evidenceNode('b', ''), evidenceNode('span', ''));
  const list = node.appendChild(evidenceNode('ul', 'lbe-tiles')), refused = node.appendChild(evidenceNode('div', 'lbe-refused'));
  node.evidence = { heading, list, refused };
  return node;
}

function evidenceTile(each) {
  const tile = evidenceNode('li', each.reference ? 'lbe-tile is-reference' : 'lbe-tile'), frame = tile.appendChild(evidenceNode('div', 'lbe-frame'));
  const open = frame.appendChild(evidenceNode('button', 'lbe-open')), picture = open.appendChild(evidenceMade(''));
  if (each.reference) {
    tile.evidence = { open, picture, title: tile.appendChild(evidenceNode('p', 'lbe-title')), summary: tile.appendChild(evidenceNode('p', 'lbe-summary')) };
    frame.replaceChildren(picture);
    return tile;
  }
  open.dataset.do = 'enlarge';
  const mark = open.appendChild(evidenceNode('span', 'lbe-mark', 'No localised evidence')), wait = frame.appendChild(evidenceNode('div', 'lbe-wait')), say = wait.appendChild(evidenceNode('p', 'lbx-number'));
  const bar = wait.appendChild(evidenceNode('progress', '')), left = wait.appendChild(evidenceNode('p', 'lbx-soft lbx-number'));
  const act = wait.appendChild(evidenceNode('button', ''));
  bar.max = 1;
  const label = tile.appendChild(evidenceNode('label', 'lbe-title')), tick = label.appendChild(evidenceNode('input', ''));
  tick.type = 'checkbox';
  tick.dataset.pick = '';
  const title = label.appendChild(evidenceNode('span', '')), summary = tile.appendChild(evidenceNode('p', 'lbe-summary'));
  const tags = tile.appendChild(evidenceNode('p', 'lbe-tags')), flag = tile.appendChild(evidenceNode('p', 'lbe-flag'));
  const more = tile.appendChild(evidenceNode('details', 'lbe-more'));
  const name = more.appendChild(evidenceNode('summary', ''));
  const limits = more.appendChild(evidenceNode('p', '')), facts = more.appendChild(evidenceNode('p', 'lbx-soft')), form = more.appendChild(evidenceForm());
  const show = more.appendChild(evidenceNode('button', '', 'Show in Review'));
  show.dataset.do = 'show';
  tile.evidence = { open, picture, mark, wait, say, bar, left, act, label, tick, title, flag, summary, tags, more, name, limits, facts, form, show };
  return tile;
}

function evidenceReference(ev, tile, image) {
  evidencePicture(tile.evidence.picture, evidenceAddress(ev, image.tile), `${image.title}, without heat`);
  evidenceText(tile.evidence.title, image.title);
  evidenceText(tile.evidence.summary, 'The image alone, for reference.');
}

function evidenceFill(ev, tile, method, image) {
  const own = tile.evidence, map = evidenceMap(method, image), isDrawn = EVIDENCE_DRAWN.includes(method.state), hasPicture = isDrawn && Boolean(map);
  evidenceData(tile, 'method', method.id);
  evidenceData(tile, 'state', method.state);
  evidenceText(own.title, method.title);
  evidenceSummary(own, method);
  evidenceFormFill(ev, own.form, method);
  evidenceLine(own.flag, method.flag || '');
  evidenceLine(own.tags, evidenceTags(method, map).join(' \u00b7 '));
  evidenceSet(own.tick, 'disabled', hasPicture ? '' : 'disabled');
  own.tick.checked = ev.view.picked.includes(method.id);
  evidenceSet(own.tick, 'aria-label', `Choose ${method.title} for comparison`);
  const held = tile.contains(document.activeElement) ? document.activeElement : null;
  evidenceHide(own.open, !hasPicture);
  evidenceHide(own.mark, !map || map.localised !== false);
  evidenceHide(own.wait, hasPicture);
  evidenceHide(own.show, !hasPicture);
  evidenceSet(own.open, 'aria-label', hasPicture ? `Enlarge ${method.title}` : '');
  evidenceSet(own.open, 'title', `${method.summary} What it cannot say: ${method.limits}`);
  if (hasPicture) evidencePicture(own.picture, evidenceAddress(ev, map.tile, 'map'), `${method.title} over ${image.title}`);
  else { own.picture.removeAttribute('src'); evidenceWaiting(ev, own, method, isDrawn); }
  if (held === own.act && (own.wait.hidden || own.act.hidden) && hasPicture) own.open.focus({ preventScroll: true });
}

function evidenceSummary(own, method) {
  evidenceText(own.summary, method.summary);
  evidenceText(own.name, Object.keys(method.defaults || {}).length ? 'Limits and settings' : 'Limits');
  evidenceSet(own.name, 'aria-label', `${own.name.textContent} of ${method.title}`);
  evidenceText(own.limits, `What it cannot say: ${method.limits}`);
  const time = Number.isFinite(method.seconds) ? method.seconds.toFixed(method.seconds < 10 ? 1 : 0) : '';
  evidenceLine(own.facts, method.state === 'done' && time ? `Drawn in ${time} s.` : '');
}

// What differs from method to method and a reader must know before comparing.
function evidenceTags(method, map) {
  const tags = [];
  if (method.class_blind) tags.push('same for every class');
  if (method.signed) tags.push('only what speaks for the class is drawn');
  if (map && map.localised === false && map.reason) tags.push(map.reason);
  return tags;
}

// What a picture would cost, or how far it has come.
function evidenceWaiting(ev, own, method, isDrawn) {
  const isBusy = EVIDENCE_BUSY.includes(method.state), waits = ev.asked.has(`run ${method.id}`) || (isBusy && method.job && ev.asked.has(`cancel ${method.job.id}`));
  const said = { failed: evidenceReason(method) || 'The map could not be drawn.', cancelled: 'Cancelled.' };
  const progress = isBusy ? evidenceProgress(method.state, method.job) : { share: null, words: said[method.state] || 'Not drawn yet', left: evidenceCost(method) };
  if (isDrawn) Object.assign(progress, { words: 'No map of this image', left: evidenceReason(method) });
  evidenceText(own.say, progress.words);
  own.say.classList.toggle('lbx-bad', method.state === 'failed');
  evidenceLine(own.left, method.state === 'failed' ? '' : progress.left);
  evidenceHide(own.bar, !isBusy);
  evidenceBar(own.bar, progress, `Progress of ${method.title}`);
  const verb = isBusy ? 'cancel' : 'run', word = { cancel: 'Cancel', run: ['failed', 'cancelled'].includes(method.state) ? 'Run again' : 'Run' }[verb];
  evidenceHide(own.act, isDrawn || (isBusy && !method.job));
  evidenceText(own.act, waits ? 'Asking\u2026' : word);
  evidenceSet(own.act, 'aria-label', `${word} ${method.title}`);
  evidenceSet(own.act, 'aria-disabled', waits ? 'true' : '');
  evidenceSet(own.act, 'data-do', verb);
    evidenceSet(own.act, 'data-job', (method.job && method.job.id) || '');
}

function evidenceCost(method) {
  if (!method.slow) return Number.isFinite(method.seconds) ? `Takes ${evidenceTime(method.seconds)}` : 'Quick';
  if (Number.isFinite(method.seconds)) return `Takes ${evidenceTime(method.seconds)}, in the background`;
  const all = { ...method.defaults, ...method.settings }, times = all.masks || all.samples || all.steps;
  return Number.isFinite(times) ? `Runs the model about ${times} times, in the background` : 'Runs the model many times, in the background';
}
