// Models: what is installed, which one is in use, how two compare, and one file in or out.

const ADMIN_ORIGINS = { shipped: 'Ships with Lightbox', trained: 'Trained here', adapted: 'Adapted here', imported: 'Imported' };
const ADMIN_PORTION = 900000;

function drawAdminModels(page, value) {
  const top = adminPart(page, 'active'), list = adminPart(page, 'list'), detail = adminPart(page, 'detail');
  adminDraw(top, [value.models.find((each) => each.state === 'active'), value.before], () => adminActive(page, value));
  adminDraw(list, [value.models, value.chosen], () => adminModelList(page, value));
  if (!list.importer) {
    list.importer = adminImport(page);
    list.append(list.importer);
  } else if (list.lastChild !== list.importer) list.append(list.importer);
  const open = value.models.find((each) => each.name === value.chosen);
  detail.hidden = !open;
  if (open) adminDraw(detail, [open, value.before], () => adminModel(page, open));
  drawAdminComparisons(page, value);
}

function adminActive(page, value) {
  const active = value.models.find((each) => each.state === 'active'), before = value.before;
  const back = async () => {
    const sure = await adminAsk(page, { title: `Roll back to “${before}”?`, yes: 'Roll back', text: [`New explanations will come from “${before}” at once.`, 'Answers that readers gave stay with the weights on which they were given.'] });
    if (sure) page.send('roll_back', {});
  };
  return [
    adminHead('In use now', adminButton('Roll back', back, { reason: before ? '' : 'No other model was in use before.' })),
    active ? adminNode('p', 'lba-lead', adminNode('b', '', active.title), ` ${active.version}`, adminNode('span', 'lbx-soft', ` · ${active.name} · weights ${active.digest.slice(0, 12)}`)) : adminNode('p', 'lba-banner is-bad', 'No model is in use.'),
    adminNode('p', 'lbx-soft', before ? `The model in use before was “${before}”.` : 'No other model was in use before, so there is nothing to roll back to.'),
  ];
}

function adminModelList(page, value) {
  const metric = (each, name) => adminMetric(each.numbers.find((n) => n.title === name));
  return [
    adminHead('Installed models'),
    adminTable([
      ['Model', (each) => adminNode('span', '', adminNode('span', 'lba-strong', each.title), adminNode('small', 'lba-under', `${each.name}, version ${each.version}`))],
      ['State', (each) => adminBadge(each.state)],
      ['Origin', (each) => adminNode('span', '', ADMIN_ORIGINS[each.origin] || each.origin, each.parent ? adminNode('small', 'lba-under', `from ${each.parent}`) : '')],
      ['Accuracy', (each) => metric(each, 'Accuracy'), 'lba-num'],
      ['Macro AUC', (each) => metric(each, 'Macro AUC'), 'lba-num'],
      ['Ratings', (each) => adminWhole(each.ratings), 'lba-num'],
      ['Installed', (each) => (each.created ? adminTime(each.created) : 'with Lightbox'), 'lba-num'],
    ], value.models, { key: (each) => each.name, chosen: value.chosen, choose: (name) => page.send('choose', { model: name }), label: 'Installed models' }),
  ];
}

function adminModel(page, each) {
  const isActive = each.state === 'active';
  const activate = async () => {
    const sure = await adminAsk(page, { title: `Put “${each.name}” to use?`, yes: 'Activate', text: ['All readers get its answers and maps from now on, without a restart.', 'Answers that readers gave stay with the weights on which they were given. You can roll back at any time.'] });
    if (sure) page.send('activate', { name: each.name });
  };
  const remove = async () => {
    const sure = await adminAsk(page, { title: `Delete “${each.name}”?`, yes: 'Delete', danger: true, text: ['Its weights and its card are removed for good. Export it first if it may be needed again.'] });
    if (sure) page.send('delete', { name: each.name });
  };
  const status = adminNode('span', 'lbx-soft lbx-number');
  adminSet(status, { role: 'status' });
  return [
    adminHead(each.title, adminBadge(each.state),
      adminButton('Activate', activate, { main: !isActive && !each.problem, reason: isActive ? 'It is in use already.' : each.problem }),
      adminButton('Export', (button) => adminExport(page, each.name, button, status), { reason: each.problem }),
      adminButton('Delete', remove, { danger: true, reason: each.deletable ? '' : each.why_not || 'It cannot be deleted.' })),
    status,
    each.deletable ? null : adminReason(`Cannot be deleted: ${each.why_not}`),
    each.problem ? adminNode('p', 'lba-banner is-bad', each.problem) : null,
    adminFacts([
      ['Name', each.name], ['Version', each.version], ['Origin', ADMIN_ORIGINS[each.origin] || each.origin], ['Adapted from', each.parent],
      ['Weights', each.digest.slice(0, 12), `SHA-256 ${each.digest}`], ['Ratings on these weights', adminWhole(each.ratings)], ['Installed', each.created ? adminTime(each.created) : 'with Lightbox'],
    ]),
    each.numbers.length ? adminMetricTable(each.numbers) : adminNode('p', 'lbx-soft', 'Its card states no figures.'),
  ];
}

// ---- comparison

function drawAdminComparisons(page, value) {
  const part = adminPart(page, 'compare');
  if (!part.a) adminCompareFrame(page, part);
  const choices = value.models.map((each) => [each.name, `${each.name} · ${each.title}`, each.problem]), names = value.models.filter((each) => !each.problem);
  const isFirst = !part.a.value, active = names.find((each) => each.state === 'active') || names[0], other = names.find((each) => each.state === 'candidate') || names.find((each) => each !== active);
  adminChoices(part.a, choices, isFirst && active ? active.name : undefined);
  adminChoices(part.b, choices, isFirst && other ? other.name : undefined);
  adminChoices(part.source, [['phantoms', 'Synthetic phantoms'], ...value.datasets.map((each) => [String(each.id), each.name, each.why])]);
  part.check();
  adminSaid(page, 'compare', part.said);
  part.list.hidden = !value.runs.length;
  adminDraw(part.list, [value.runs, value.comparing], () => adminTable([
    ['Comparison', (run) => adminNode('span', 'lba-strong', run.title)], ['State', (run) => adminBadge(run.state)], ['Progress', (run) => adminRunShare(run), 'lba-wide'],
    ['Started', (run) => adminTime(run.started || run.created), 'lba-num'], ['By', (run) => run.owner],
  ], value.runs, { key: (run) => run.id, chosen: value.comparing, choose: (id) => page.send('choose', { run: Number(id) }), label: 'Comparisons' }));
  const open = value.comparison;
  part.result.hidden = !open;
  adminDraw(part.result, open, () => (open ? adminComparison(page, open) : []));
}

function adminCompareFrame(page, part) {
  part.a = adminSelect('a', []);
  part.b = adminSelect('b', []);
  part.source = adminSelect('source', []);
  part.said = adminSaidLine();
  part.list = adminNode('div', 'lba-plain');
  part.result = adminNode('div', 'lba-plain');
  const why = adminReason('Choose two different models.');
  const go = adminButton('Compare', () => {
    adminTell(part.said, 'Being started…', true);
    page.send('compare', { a: part.a.value, b: part.b.value, source: part.source.value });
  }, { main: true });
  part.check = () => {
    const same = part.a.value === part.b.value;
    adminSet(go, { disabled: same });
    why.hidden = !same;
  };
  part.addEventListener('change', part.check);
  part.append(
    adminHead('Compare two models on the same cases'),
    adminNode('div', 'lba-formrow', adminField('First model', part.a), adminField('Second model', part.b), adminField('Cases', part.source)),
    adminNode('div', 'lba-actions', go, why), part.said, part.list, part.result,
  );
}

function adminComparison(page, open) {
  const { run, outcome } = open;
  if (!outcome) {
    return [adminHead(run.title, adminBadge(run.state), ...adminRunButtons(page, run, { pausable: false })),
      adminRunBanner(run), run.state === 'failed' ? adminLog(open.log, true) : null];
  }
  return [
    adminNode('h3', 'lba-sub', `${outcome.a} and ${outcome.b} on ${adminWhole(outcome.cases)} cases`),
    adminNode('p', 'lbx-soft', `${outcome.source ? `Cases: ${outcome.source}. ` : ''}They name different classes in ${adminWhole(outcome.disagreements)} of them. A difference is shown only where its 95 % interval leaves out zero.`),
    adminTable([
      ['Measure', (row) => adminNode('span', 'lba-strong', row.title)], [outcome.a, (row) => adminNumber(row.a), 'lba-num'], [outcome.b, (row) => adminNumber(row.b), 'lba-num'],
      ['Difference, second − first', (row) => adminSigned(row.difference), 'lba-num'],
      ['95 % interval', (row) => adminNode('span', 'lba-interval', adminNode('span', '', `${adminSigned(row.low)} to ${adminSigned(row.high)}`), adminWhisker(row, outcome.rows)), 'lba-num'],
      ['Reading', (row) => adminReading(row, outcome)],
    ], outcome.rows, { label: 'Comparison of two models' }),
  ];
}

function adminReading(row, outcome) {
  if (typeof row.low !== 'number' || typeof row.high !== 'number') return adminNode('span', 'lbx-soft', 'no interval');
  if (row.low <= 0 && row.high >= 0) return adminNode('span', 'lbx-soft', 'no difference shown');
  const isMore = row.low > 0, better = row.lower_is_better ? !isMore : isMore;
  return adminNode('span', better ? 'lbx-good' : 'lbx-bad', `${better ? outcome.b : outcome.a} is better`);
}

// The interval beside zero, on one scale for the whole table.
function adminWhisker(row, rows) {
  const most = Math.max(1e-6, ...rows.flatMap((each) => [Math.abs(each.low || 0), Math.abs(each.high || 0)])), at = (v) => 60 + (56 * v) / most;
  const svg = adminShape('svg', { width: 120, height: 14, viewBox: '0 0 120 14', 'aria-hidden': true, class: 'lba-whisker' });
  if (typeof row.low !== 'number') return svg;
  svg.append(adminShape('line', { x1: 60, x2: 60, y1: 0, y2: 14, class: 'lba-zero' }), adminShape('line', { x1: at(row.low), x2: at(row.high), y1: 7, y2: 7, class: 'lba-span' }), adminShape('circle', { cx: at(row.difference), cy: 7, r: 3.2, class: 'lba-dot' }));
  return svg;
}

// ---- one file in or out: in portions, so that no request grows beyond what the server takes at once

async function adminExport(page, name, button, status) {
  const parts = [];
  button.disabled = true;
  try {
    const begun = adminAnswer(await page.server.export_begin(name));
    for (let at = 0; at < begun.size;) {
      const { data } = adminAnswer(await page.server.export_part({ token: begun.token, offset: at }));
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      if (!bytes.length) throw new Error('The file ended too early; please try again.');
      parts.push(bytes);
      at += bytes.length;
      status.textContent = `Being exported: ${Math.round((100 * at) / begun.size)} % of ${adminMegabytes(begun.size)}`;
    }
    adminAnswer(await page.server.export_end(begun.token));
    const link = adminNode('a');
    link.href = URL.createObjectURL(new Blob(parts, { type: 'application/zip' }));
    link.download = begun.filename;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    status.textContent = `Exported: ${adminMegabytes(begun.size)}.`;
  } catch (error) {
    status.textContent = adminFailure(error, 'The export broke off; please try again.');
  }
  button.disabled = false;
}

function adminImport(page) {
  const input = adminNode('input'), said = adminSaidLine(), bar = adminNode('div', 'lba-importing');
  Object.assign(input, { type: 'file', accept: '.zip', hidden: true });
  input.dataset.key = 'import';
  const button = adminButton('Import a model…', () => input.click());
  input.addEventListener('change', async () => {
    const [file] = input.files;
    input.value = '';
    if (!file) return;
    button.disabled = true;
    adminTell(said, '');
    try {
      const { token } = adminAnswer(await page.server.import_begin(file.size));
      for (let at = 0; at < file.size; at += ADMIN_PORTION) {
        const data = await adminBase64(file.slice(at, at + ADMIN_PORTION));
        adminAnswer(await page.server.import_part({ token, offset: at, data }));
        bar.replaceChildren(adminProgress(Math.min(1, (at + ADMIN_PORTION) / file.size), 'Import'));
      }
      adminTell(said, 'Being checked…', true);
      const { model } = adminAnswer(await page.server.import_end(token));
      adminTell(said, `Imported as “${model}”. It is not in use yet.`, true);
      page.send('model', { name: model });
    } catch (error) {
      adminTell(said, adminFailure(error, 'The import broke off; please try again.'));
    }
    bar.replaceChildren();
    button.disabled = false;
  });
  return adminNode('div', 'lba-import', adminNode('div', 'lba-actions', button, input, adminNode('span', 'lbx-soft', 'One file that another Lightbox exported (.lightbox.zip); it is checked before it is installed.')), bar, said);
}

function adminAnswer(answer) {
  if (answer && answer.error) throw Object.assign(new Error(answer.error), { foreseen: true });
  return answer || {};
}

function adminFailure(error, otherwise) {
  return error && error.foreseen ? error.message : otherwise;
}

function adminBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(',')[1] || '');
    reader.onerror = () => reject(new Error('The file cannot be read.'));
    reader.readAsDataURL(blob);
  });
}
