// Data sets: register a manifest, see what its check found, and look at a few of its pictures.

const ADMIN_COLUMNS = 'patient, site, modality, path and class; optional are split, grade, box (left;top;width;height) and mask';
const ADMIN_SHOWN_PROBLEMS = 60;

function drawAdminDatasets(page, value) {
  const side = adminPart(page, 'side', 'lba-side'), main = adminPart(page, 'main', 'lba-main');
  adminDatasetForm(page, side);
  const list = adminPart(page, 'list', 'lba-card', main), detail = adminPart(page, 'detail', 'lba-card', main);
  adminDraw(list, [value.datasets, value.chosen], () => adminDatasetList(page, value));
  const open = value.datasets.find((each) => each.id === value.chosen);
  detail.hidden = !open;
  if (!open) return;
  const head = adminPart(page, 'head', 'lba-plain', detail), facts = adminPart(page, 'facts', 'lba-plain', detail);
  const found = adminPart(page, 'found', 'lba-plain', detail), pictures = adminPart(page, 'pictures', 'lba-plain', detail);
  adminDraw(head, [open, value.run], () => adminDatasetHead(page, open, value.run));
  const isKnown = open.rows > 0;
  for (const part of [facts, found, pictures]) part.hidden = !isKnown;
  if (!isKnown) return;
  adminDraw(facts, [open.classes, open.sites, open.splits, open.modalities], () => adminNode('div', 'lba-grid4',
    adminBars('Classes', open.classes), adminBars('Sites', open.sites), adminBars('Splits', open.splits, { sorted: false }), adminBars('Modalities', open.modalities)));
  adminDraw(found, [value.problems, page.keep.severity, open.id, open.state], () => adminProblems(page, open, value.problems));
  adminThumbnails(page, open, pictures);
}

function adminDatasetForm(page, side) {
  const form = adminPart(page, 'form', 'lba-card', side);
  if (!form.said) {
    const name = adminInput('name', { placeholder: 'Screening 2024, two sites' }), path = adminInput('path', { placeholder: '/data/screening/manifest.csv' });
    const classes = adminInput('classes', { placeholder: 'Normal, Benign, In situ, Invasive' }), grades = adminInput('grades', { placeholder: 'Benign, In situ, Invasive' });
    form.said = adminSaidLine();
    const send = () => {
      if (!name.value.trim() || !path.value.trim()) {
        adminTell(form.said, 'A name and the place of the manifest are needed.');
        (name.value.trim() ? path : name).focus();
        return;
      }
      adminTell(form.said, 'The manifest is being read…', true);
      page.send('register', { name: name.value, manifest: path.value, classes: classes.value, grades: grades.value });
    };
    form.append(
      adminHead('Register a data set'),
      adminNode('p', 'lbx-soft', 'A manifest is a CSV or Parquet file with one row for each image. Its images stay where they are; nothing is copied.'),
      adminField('Name', name),
      adminField('Manifest on this server', path, `Columns: ${ADMIN_COLUMNS}. Image paths are relative to the manifest.`),
      adminField('Classes, in order (optional)', classes, 'Empty for those of the model in use.'),
      adminField('Grades, in order (optional)', grades),
      adminNode('div', 'lba-actions', adminButton('Register and check', send, { main: true })), form.said,
    );
    form.addEventListener('keydown', (event) => { if (event.key === 'Enter' && event.target.tagName === 'INPUT') send(); });
    form.empty = () => { for (const input of [name, path, classes, grades]) input.value = ''; };
  }
  const said = page.value.said;
  if (said && said.form === 'register' && said.good && page.keep['said-register'] !== said.n) form.empty();
  adminSaid(page, 'register', form.said);
}

function adminDatasetList(page, value) {
  const rows = value.datasets;
  return [
    adminHead('Data sets'),
    rows.length ? adminTable([
      ['Name', (each) => adminNode('span', 'lba-strong', each.name)],
      ['State', (each) => adminBadge(each.state)],
      ['Images', (each) => (each.rows ? adminWhole(each.rows) : '–'), 'lba-num'],
      ['Patients', (each) => (each.patients ? adminWhole(each.patients) : '–'), 'lba-num'],
      ['Problems', (each) => adminProblemCount(each)],
      ['Registered', (each) => adminNode('span', '', adminTime(each.created), adminNode('small', 'lba-under', `by ${each.who}`)), 'lba-num'],
    ], rows, { key: (each) => each.id, chosen: value.chosen, choose: (id) => page.send('choose', { dataset: Number(id) }), label: 'Data sets' })
      : adminEmpty('No data set is registered.', 'Register a manifest on the left. Until then, training uses synthetic phantoms.'),
  ];
}

function adminProblemCount(each) {
  if (!each.errors && !each.warnings) return each.state === 'ready' ? 'none' : '–';
  const count = (n, word) => (n ? `${adminWhole(n)} ${word}${n === 1 ? '' : 's'}` : '');
  return adminNode('span', '', adminNode('span', 'lbx-bad', count(each.errors, 'error')), each.errors && each.warnings ? ', ' : '', count(each.warnings, 'warning'));
}

function adminDatasetHead(page, open, run) {
  const isChecking = open.state === 'checking';
  const remove = async () => {
    const sure = await adminAsk(page, {
      title: `Remove “${open.name}”?`, yes: 'Remove', danger: true,
      text: ['Lightbox forgets the data set and its check. The manifest and its images stay where they are, and models trained on it stay too.'],
    });
    if (sure) page.send('remove', { dataset: open.id });
  };
  return [
    adminHead(open.name, adminBadge(open.state),
      adminButton('Check again', () => page.send('recheck', { dataset: open.id }), { reason: isChecking ? 'It is being checked now.' : '' }),
      adminButton('Remove', remove, { danger: true, reason: isChecking ? 'It is being checked now.' : '' })),
    isChecking && adminNode('div', 'lba-banner', run && run.state === 'queued' ? `The check waits for its turn${run.position ? `, number ${run.position} in the queue` : ''}.` : 'Every image is opened and compared with the manifest.', adminProgress(run ? run.share : null, 'Check of the data set')),
    open.state === 'failed' && adminNode('p', 'lba-banner is-bad', open.message || 'The check did not end. Check the data set again.'),
    open.state === 'refused' && adminNode('p', 'lba-banner is-bad', `Training cannot use this data set before ${open.errors === 1 ? 'its error is' : `its ${adminWhole(open.errors)} errors are`} corrected. Correct the manifest, then check it again.`),
    open.state === 'ready' && adminNode('p', 'lba-banner is-good', open.warnings ? `Ready for training. Please read the ${open.warnings === 1 ? 'warning' : `${adminWhole(open.warnings)} warnings`} below first.` : 'Ready for training: no problem was found.'),
    open.rows ? adminFacts([
      ['Images', adminWhole(open.rows)], ['Patients', adminWhole(open.patients)], ['Sites', adminWhole(Object.keys(open.sites).length)],
      ['Checked manifest', open.digest ? open.digest.slice(0, 12) : '', open.digest ? `SHA-256 ${open.digest}` : ''],
    ]) : null,
  ];
}

function adminProblems(page, open, problems) {
  const count = (kind) => problems.filter((each) => each.severity === kind).length, wanted = page.keep.severity || '';
  const shown = problems.filter((each) => !wanted || each.severity === wanted).sort((a, b) => (a.severity > b.severity) - (a.severity < b.severity));
  const filter = adminNode('div', 'lba-switch', [['', `All ${problems.length}`], ['error', `Errors ${count('error')}`], ['warning', `Warnings ${count('warning')}`]].map(([id, words]) => {
    const button = adminButton(words, () => { page.keep.severity = id; page.update(); }, { key: `severity-${id}` });
    return adminSet(button, { 'aria-pressed': String(wanted === id) });
  }));
  adminSet(filter, { role: 'group', 'aria-label': 'Problems shown' });
  if (!problems.length) return [adminNode('h3', 'lba-sub', 'Problems'), adminNode('p', 'lbx-soft', open.state === 'checking' ? 'They are listed when the check has ended.' : 'None was found.')];
  return [
    adminNode('div', 'lba-head', adminNode('h3', 'lba-sub', 'Problems'), filter),
    adminTable([
      ['Severity', (each) => adminNode('span', `lba-state is-${each.severity === 'error' ? 'bad' : 'rest'}`, each.severity === 'error' ? 'Error' : 'Warning')],
      ['Kind', (each) => each.kind],
      ['What is wrong', (each) => each.message, 'lba-long'],
      ['Rows of the manifest', (each) => adminRowNumbers(each.rows), 'lba-rows'],
    ], shown.slice(0, ADMIN_SHOWN_PROBLEMS), { label: 'Problems of the data set' }),
    shown.length > ADMIN_SHOWN_PROBLEMS ? adminNode('p', 'lbx-soft', `The first ${ADMIN_SHOWN_PROBLEMS} of ${shown.length} are shown.`) : null,
  ];
}

function adminRowNumbers(rows) {
  if (!rows.length) return 'the whole manifest';
  const shown = rows.slice(0, 8).join(', ');
  return rows.length > 8 ? `${shown} and ${rows.length - 8} more` : shown;
}

// Pictures are fetched once for each check of each data set, apart from the value that is polled.
function adminThumbnails(page, open, part) {
  const stamp = `${open.id} ${open.digest}`;
  if (open.state === 'checking' || part.adminFor === stamp) return;
  part.adminFor = stamp;
  part.replaceChildren(adminNode('h3', 'lba-sub', 'Images, a few of them'), adminNode('p', 'lbx-soft', 'Being read…'));
  page.server.thumbnails(open.id).then((answer) => {
    if (part.adminFor !== stamp) return;
    const pictures = answer.pictures || [];
    part.lastChild.replaceWith(pictures.length ? adminNode('ul', 'lba-thumbs', pictures.map((each) => {
      const image = adminNode('img');
      Object.assign(image, { src: `data:image/png;base64,${each.png}`, alt: each.caption, width: 128, height: 128 });
      return adminNode('li', '', image, adminNode('span', '', each.caption));
    })) : adminNode('p', 'lbx-soft', answer.error || 'No image could be read.'));
  }).catch(() => { if (part.adminFor === stamp) part.lastChild.textContent = 'The images could not be fetched.'; });
}
