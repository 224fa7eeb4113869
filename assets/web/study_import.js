// Import: a table of ratings collected elsewhere, sent in portions, looked at, and not kept.

const STUDY_PORTION = 900000;
const STUDY_COLUMNS = [['reader_id', 'who rated'], ['case_id', 'what was rated'], ['question_id', 'which question'], ['answer', 'the rating; empty for none']];

function drawStudyImport(page, value) {
  const form = adminPart(page, 'form'), top = adminPart(page, 'top');
  if (!form.button) studyImportFrame(page, form);
  if (value.problem) adminTell(form.told, value.problem);
  else if (value.found) adminTell(form.told, '');
  form.clear.hidden = !value.found;
  form.button.disabled = false;
  form.bar.replaceChildren();
  top.hidden = !value.found;
  if (value.found) adminDraw(top, value.found, () => [adminHead(page.keep.name || 'The table'), ...studyFound(page, value.found, ['question', 'pair'], 'What was assumed')]);
}

function studyImportFrame(page, form) {
  const input = adminSet(adminNode('input'), { type: 'file', accept: '.csv,text/csv', 'data-key': 'import', 'aria-label': 'Table of ratings', hidden: true });
  form.told = adminSaidLine();
  form.bar = adminNode('div', 'lba-importing');
  form.button = adminButton('Choose a CSV file…', () => input.click(), { main: true });
  form.clear = adminButton('Close the table', () => page.send('forget', {}));
  input.addEventListener('change', () => { const [file] = input.files; input.value = ''; if (file) studySend(page, form, file); });
  form.append(
    adminHead('Analyse ratings collected elsewhere'),
    adminNode('p', '', 'A CSV table with one row for each answer gets the same analysis as a study of Lightbox. It is analysed in memory and not stored.'),
    adminTable([['Column', ([name]) => adminNode('code', '', name)], ['Holds', ([, words]) => words]], [...STUDY_COLUMNS, ['condition', 'optional: the condition'], ['replicate', 'optional: 2 for a repeat']], { label: 'Columns of the table' }),
    adminNode('div', 'lba-actions', form.button, input, form.clear), form.bar, form.told,
  );
}

async function studySend(page, form, file) {
  form.button.disabled = true;
  adminTell(form.told, '');
  page.keep.name = file.name;
  try {
    const { token } = studyAnswered(await page.server.begin(file.size));
    for (let at = 0; at < file.size; at += STUDY_PORTION) {
      studyAnswered(await page.server.part({ token, offset: at, data: await studyBase64(file.slice(at, at + STUDY_PORTION)) }));
      form.bar.replaceChildren(adminProgress(Math.min(1, (at + STUDY_PORTION) / file.size), 'Sending the table'));
    }
    adminTell(form.told, 'The analysis is being computed…', true);
    page.send('analyse', { token });
  } catch (error) {
    adminTell(form.told, error && error.foreseen ? error.message : 'The transfer broke off; please try again.');
    form.button.disabled = false;
    form.bar.replaceChildren();
  }
}

function studyAnswered(answer) {
  if (answer && answer.error) throw Object.assign(new Error(answer.error), { foreseen: true });
  return answer || {};
}

function studyBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(',')[1] || '');
    reader.onerror = () => reject(new Error('The file cannot be read.'));
    reader.readAsDataURL(blob);
  });
}
