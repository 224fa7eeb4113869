// The findings: mountFindings(element, getValue, send) draws what the model says about one case.

function mountFindings(element, getValue, send) {
  if (element.panel) element.panel.dispose();
  const controller = new AbortController(), part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  part.bars.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button) send('target', { name: button.dataset.name });
  }, { signal: controller.signal });
  // Findings of one case or class are not seen beside the images of another.
  let screen = null;
  const veil = () => {
    const value = getValue(), known = screen && value && value.case;
    const away = known && (value.case !== screen.case || (screen.target && value.target && value.target !== screen.target));
    part.body.style.visibility = away ? 'hidden' : '';
  };
  document.addEventListener('lightbox-shown', (event) => { screen = event.detail; veil(); }, { signal: controller.signal });
  element.panel = { dispose: () => controller.abort(), update: () => { findingsDraw(part, getValue()); veil(); } };
  element.panel.update();
  return element.panel;
}

function findingsDraw(part, value) {
  const known = Boolean(value && value.case);
  part.empty.hidden = known;
  part.body.hidden = !known;
  if (!known) return;
  const probabilities = value.probabilities || [], lead = probabilities.find((each) => each.name === value.leading);
  part.leading.textContent = value.leading || 'not assessed';
  part.chance.textContent = lead ? findingsNumber(lead.value) : '';
  part.warnings.replaceChildren(...(value.warnings || []).map((text) => {
    const note = findingsNode('p', 'lbx-note', text);
    note.setAttribute('role', 'note');
    return note;
  }));
  findingsBars(part, value, probabilities);
  findingsGrade(part, value.grade);
  const sure = Number.isFinite(value.score) ? `, score ${findingsNumber(value.score)}` : '';
  findingsOrNot(part.box, value.box ? `${value.box.text}${sure}` : '');
  findingsPatches(part, value.patches || []);
  part.methods.replaceChildren(...(value.methods || []).map(findingsMethod));
  part.refused.replaceChildren(...(value.refused || []).map((each) => findingsGroup(each.title, each.reason)));
  part.refusedbox.hidden = !(value.refused || []).length;
  findingsModel(part, value.model || {});
  findingsReport(part.report, String(value.report || ''));
}

// One button a class, the leading one first; the class that is explained is the pressed one.
function findingsBars(part, value, probabilities) {
  const held = part.bars.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const order = [...probabilities].sort((a, b) => (b.name === value.leading) - (a.name === value.leading));
  part.bars.replaceChildren(...order.map((each) => {
    const item = findingsNode('li', ''), button = item.appendChild(findingsNode('button', ''));
    button.type = 'button';
    button.dataset.name = each.name;
    button.setAttribute('aria-pressed', String(each.name === value.target));
    button.classList.toggle('is-leading', each.name === value.leading);
    const name = button.appendChild(findingsNode('span', 'lbf-name'));
    name.append(findingsNode('b', '', each.name));
    if (each.name === value.leading) name.append(' ', findingsNode('span', 'lbf-tag', 'leading'));
    if (each.name === value.target) name.append(' ', findingsNode('span', 'lbf-tag', 'explained'));
    button.append(' ', findingsNode('span', 'lbx-number', findingsNumber(each.value)), findingsTrack(each.value));
    return item;
  }));
  const again = held !== null && [...part.bars.querySelectorAll('button')].find((button) => button.dataset.name === held);
  if (again) again.focus({ preventScroll: true });
}

function findingsGrade(part, grade) {
  const names = grade ? grade.names || [] : [];
  findingsOrNot(part.grade, grade ? `${grade.name}, level ${grade.level + 1} of ${names.length}` : '');
  part.scale.replaceChildren(...names.map((name, level) => {
    const item = findingsNode('li', level < grade.level ? 'is-below' : '', name);
    if (level === grade.level) item.setAttribute('aria-current', 'true');
    const chance = (grade.probabilities || [])[level];
    if (Number.isFinite(chance)) item.append(findingsNode('span', 'lbx-number', findingsNumber(chance)));
    return item;
  }));
}

function findingsPatches(part, patches) {
  const most = Math.max(...patches.map((each) => each.weight), 1e-12);
  part.nopatches.hidden = patches.length > 0;
  part.nopatches.className = 'lbf-none';
  part.patches.replaceChildren(...patches.map((each) => {
    const item = findingsNode('li', ''), label = findingsNode('span', 'lbx-badge', each.label);
    item.append(label, findingsTrack(each.weight / most), findingsNode('span', 'lbx-number', findingsNumber(each.weight)));
    return item;
  }));
}

function findingsMethod(method) {
  const group = findingsGroup(method.title, method.summary), reason = method.reason ? `: ${method.reason}` : '.';
  if (method.localised === false) group.append(findingsNode('dd', 'lbf-none', `No localised evidence${reason}`));
  return group;
}

function findingsGroup(title, text) {
  const group = findingsNode('div', '');
  group.append(findingsNode('dt', '', title), findingsNode('dd', '', text));
  return group;
}

// Only an address of our own becomes a link.
function findingsReport(link, address) {
  link.hidden = !address.startsWith('/reports/');
  if (!link.hidden) link.setAttribute('href', address);
}

function findingsModel(part, model) {
  const facts = [model.title, model.version && `version ${model.version}`, model.weights && `weights ${model.weights}`];
  part.model.textContent = facts.filter(Boolean).join(' · ');
  part.use.textContent = model.intended_use ? `Intended use: ${model.intended_use}` : '';
}

function findingsOrNot(node, text) {
  node.textContent = text || 'not assessed';
  node.classList.toggle('lbf-none', !text);
}

function findingsTrack(share) {
  const track = findingsNode('span', 'lbf-track'), fill = track.appendChild(findingsNode('i', ''));
  fill.style.width = `${Math.min(100, Math.max(0, 100 * (Number(share) || 0)))}%`;
  track.setAttribute('aria-hidden', 'true');
  return track;
}

function findingsNumber(value) {
  return Number.isFinite(value) ? value.toFixed(2) : 'not assessed';
}

function findingsNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
