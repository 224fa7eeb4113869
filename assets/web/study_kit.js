// Shared pieces of the organisers' pages: which study is open, its state, numbers with intervals, and downloads.

Object.assign(ADMIN_STATES, {
  draft: ['Draft', 'rest'], open: ['Open', 'busy'], locked: ['Locked', 'good'], exported: ['Exported', 'good'],
  reading: ['Reading', 'busy'], washout: ['Washout', 'rest'], break: ['On a break', 'rest'], waiting: ['Not begun', 'off'],
  finished: ['Finished', 'good'], preparing: ['Being prepared', 'busy'], withdrawn: ['Withdrawn', 'off'], failed_training: ['Training not passed', 'bad'], closed: ['Closed', 'off'],
});

const STUDY_ARMS = { image: 'Image only', prediction: 'Prediction', explanation: 'Explanation', decoy: 'Decoy' };

// The line above a tab: the study that is open, and a way to another one. Tells whether there is one.
function studyHead(page, value, ...beside) {
  const part = adminPart(page, 'head', 'lbs-head');
  if (!part.select) {
    part.select = adminSelect('study', []);
    part.label = adminNode('label', '', adminNode('span', '', 'Study'), part.select);
    part.facts = adminNode('div', 'lbs-head-facts');
    part.append(part.label, part.facts);
    part.select.addEventListener('change', () => {
      const wanted = Number(part.select.value), until = Date.now() + 5000;
      // What was on its way for another study when this one was chosen comes too late.
      page.isLate = (late) => Date.now() < until && Boolean(late.study) && late.study.id !== wanted;
      page.send('choose', { study: wanted });
    });
  }
  const rows = value.studies || [], open = value.study;
  part.hidden = !rows.length;
  adminChoices(part.select, rows.map((row) => [row.id, `${row.title} · ${row.code}`]), open && open.id);
  part.facts.replaceChildren(...(open ? [adminBadge(open.state), ...beside.flat().filter(Boolean)] : []));
  const none = adminPart(page, 'none');
  none.hidden = rows.length > 0;
  if (!rows.length) adminDraw(none, 'none', () => adminEmpty('There is no study yet.', 'Make one on the tab “Studies”.'));
  return Boolean(open);
}

function studyCard(page, name, title, hidden) {
  const part = adminPart(page, name);
  part.hidden = Boolean(hidden);
  return part;
}

// A number with its 95 % interval, or the reason why there is none.
function studyEstimate(row, keys = ['value', 'low', 'high'], digits = 2) {
  const [value, low, high] = keys.map((key) => row[key]);
  if (typeof value !== 'number') return adminNode('span', 'lbs-none', row.reason || 'not estimable');
  const bare = adminNode('b', 'lbx-number', adminNumber(value, digits));
  if (typeof low !== 'number' || typeof high !== 'number') return adminNode('span', '', bare, adminNode('span', 'lbx-soft', ' (no interval)'));
  return adminNode('span', 'lbs-estimate', bare, adminNode('span', 'lbx-soft lbx-number', ` (${adminNumber(low, digits)} to ${adminNumber(high, digits)})`));
}

function studyP(p) {
  if (typeof p !== 'number') return '–';
  return p < 0.001 ? '< 0.001' : p.toFixed(3);
}

function studyShare(value, n) {
  return typeof value === 'number' ? `${Math.round(100 * value)} %${n === undefined ? '' : ` of ${n}`}` : '–';
}

function studySeconds(value) {
  if (typeof value !== 'number') return '–';
  return value < 90 ? `${value.toFixed(value < 10 ? 1 : 0)} s` : `${(value / 60).toFixed(1)} min`;
}

function studyDownload(label, href, title) {
  return adminSet(adminNode('a', 'lbs-download', label), { href, download: true, title: title || null, 'data-key': href });
}

function studyList(className, items, title) {
  if (!items || !items.length) return null;
  return adminNode('div', `lbs-notes ${className}`, title ? adminNode('p', 'lbs-notes-title', title) : null, adminNode('ul', '', items.map((item) => adminNode('li', '', item))));
}

// A part that folds, with what it holds told in its head.
function studyFold(key, title, told, open, ...inside) {
  const fold = adminNode('details', 'lba-fold lbs-fold', adminNode('summary', '', adminNode('h3', 'lbs-fold-title', title), adminNode('span', 'lbx-soft', told)), adminNode('div', 'lbs-fold-body', ...inside));
  fold.dataset.key = key;
  fold.open = Boolean(open);
  return fold;
}

function studyBox(label, checked, act, { key, reason } = {}) {
  const box = adminSet(adminNode('input'), { type: 'checkbox', 'data-key': key || label, disabled: Boolean(reason), title: reason || null });
  box.checked = Boolean(checked);
  box.addEventListener('change', () => act(box.checked, box));
  return adminNode('label', 'lba-choice', box, adminNode('span', '', label));
}
