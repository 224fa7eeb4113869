// The upload: mountUpload(element, getValue, send) sends chosen files and lists the cases they became.

const UPLOAD_SHOWN = 200;

function mountUpload(element, getValue, send) {
  const before = element.panel;
  if (before) before.dispose();
  const controller = new AbortController(), part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  const upload = {
    element, part, send, signal: controller.signal, chosen: before && before.chosen ? before.chosen : [], request: null,
    dispose: () => { controller.abort(); if (upload.request) upload.request.abort(); },
    alive: () => { if (!element.isConnected) upload.dispose(); return !controller.signal.aborted; },
  };
  uploadBind(upload);
  element.panel = {
    chosen: upload.chosen, dispose: upload.dispose,
    update: () => { const value = getValue(); part.limits.textContent = (value && value.limits) || ''; },
  };
  element.panel.update();
  uploadShow(upload);
  return element.panel;
}

function uploadBind(upload) {
  const { part, signal } = upload;
  const acts = {
    files: () => part.files.click(), folder: () => part.folder.click(), start: () => uploadStart(upload),
    clear: () => { upload.chosen.length = 0; uploadTrouble(upload, ''); uploadShow(upload); },
    cancel: () => { if (upload.request) upload.request.abort(); },
  };
  part.root.addEventListener('click', (event) => {
    const button = event.target.closest('button'), link = event.target.closest('a[data-case]');
    if (button && acts[button.dataset.do]) acts[button.dataset.do]();
    else if (button && button.dataset.drop) uploadDrop(upload, Number(button.dataset.drop));
    else if (link) uploadOpen(upload, link, event);
  }, { signal });
  for (const input of [part.files, part.folder]) {
    input.addEventListener('change', () => {
      uploadAdd(upload, [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
      input.value = '';
    }, { signal });
  }
  uploadBindDrop(upload);
  globalThis.addEventListener('beforeunload', (event) => { if (upload.alive() && upload.request) event.preventDefault(); }, { signal });
}

// A file dropped beside the area must not replace the page.
function uploadBindDrop(upload) {
  const { part, signal } = upload, visible = () => upload.alive() && part.root.getClientRects().length;
  for (const name of ['dragover', 'drop']) {
    document.addEventListener(name, (event) => { if (visible() && uploadHasFiles(event)) event.preventDefault(); }, { signal });
  }
  part.drop.addEventListener('dragover', (event) => {
    if (!uploadHasFiles(event)) return;
    event.preventDefault();
    part.drop.classList.add('is-over');
  }, { signal });
  for (const name of ['dragleave', 'drop']) {
    part.drop.addEventListener(name, () => part.drop.classList.remove('is-over'), { signal });
  }
  part.drop.addEventListener('drop', async (event) => {
    if (!uploadHasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    uploadAdd(upload, await uploadDropped(event.dataTransfer));
  }, { signal });
}

function uploadHasFiles(event) {
  return Boolean(event.dataTransfer) && [...event.dataTransfer.types].includes('Files');
}

// Files of a drop, folders opened up; the browser empties the transfer as soon as this function waits.
async function uploadDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const plain = [...transfer.files].map((file) => ({ file, path: file.name }));
  if (!entries.length) return plain;
  return (await Promise.all(entries.map((entry) => uploadWalk(entry, '')))).flat();
}

async function uploadWalk(entry, folder) {
  const path = folder ? `${folder}/${entry.name}` : entry.name;
  if (entry.isFile) return new Promise((done) => { entry.file((file) => done([{ file, path }]), () => done([])); });
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done) => { reader.readEntries(done, () => done([])); });
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map((each) => uploadWalk(each, path)))).flat();
}

function uploadAdd(upload, files) {
  if (upload.request) return;
  const known = new Set(upload.chosen.map((each) => `${each.path}\n${each.file.size}\n${each.file.lastModified}`));
  for (const each of files) {
    const key = `${each.path}\n${each.file.size}\n${each.file.lastModified}`;
    if (!known.has(key)) upload.chosen.push(each);
    known.add(key);
  }
  upload.part.results.replaceChildren();
  upload.part.status.textContent = '';
  uploadTrouble(upload, '');
  uploadShow(upload);
}

function uploadDrop(upload, place) {
  upload.chosen.splice(place - 1, 1);
  uploadShow(upload);
  const buttons = upload.part.names.querySelectorAll('button'), next = buttons[Math.min(place, buttons.length) - 1];
  (next || upload.part.root.querySelector('[data-do="files"]')).focus();
}

// Draws the list of chosen files; their names never leave this page before the upload, nor appear after it.
function uploadShow(upload) {
  const { part, chosen } = upload, busy = Boolean(upload.request), bytes = chosen.reduce((sum, each) => sum + each.file.size, 0);
  const count = `${chosen.length} ${chosen.length === 1 ? 'file' : 'files'}`;
  part.list.hidden = !chosen.length || busy;
  part.going.hidden = !busy;
  part.sum.textContent = `${count}, ${uploadSize(bytes)}`;
  part.list.querySelector('[data-do="start"]').textContent = `Upload ${count}`;
  for (const button of part.drop.querySelectorAll('button')) button.disabled = busy;
  part.names.replaceChildren(...chosen.slice(0, UPLOAD_SHOWN).map((each, index) => {
    const item = uploadNode('li', ''), remove = uploadNode('button', '', 'Remove');
    remove.type = 'button';
    remove.dataset.drop = String(index + 1);
    remove.setAttribute('aria-label', `Remove ${each.path}`);
    item.append(uploadNode('span', '', each.path), uploadNode('span', 'lbx-soft lbx-number', uploadSize(each.file.size)), remove);
    return item;
  }));
  if (chosen.length > UPLOAD_SHOWN) part.names.append(uploadNode('li', '', `and ${chosen.length - UPLOAD_SHOWN} more`));
}

function uploadStart(upload) {
  if (upload.request || !upload.chosen.length) return;
  const form = new FormData(), request = new XMLHttpRequest();
  for (const each of upload.chosen) form.append('files', each.file, each.path);
  upload.request = request;
  upload.part.results.replaceChildren();
  upload.part.status.textContent = '';
  uploadTrouble(upload, '');
  uploadProgress(upload, 0);
  request.upload.addEventListener('progress', (event) => { if (event.lengthComputable) uploadProgress(upload, 100 * event.loaded / event.total); });
  request.upload.addEventListener('load', () => uploadProgress(upload, 100));
  request.addEventListener('load', () => uploadAnswered(upload, request));
  request.addEventListener('error', () => uploadEnd(upload, 'The connection was lost. Your list is kept; try again.'));
  request.addEventListener('abort', () => uploadEnd(upload, 'The upload was cancelled. Your list is kept.'));
  request.open('POST', '/upload');
  request.setRequestHeader('Accept', 'application/json');
  request.send(form);
  uploadShow(upload);
  upload.part.root.querySelector('[data-do="cancel"]').focus();
}

function uploadProgress(upload, percent) {
  const { part } = upload, whole = Math.floor(percent);
  part.progress.value = whole;
  part.share.textContent = whole < 100 ? `Uploading, ${whole} %` : 'Reading and de-identifying the files …';
}

function uploadAnswered(upload, request) {
  let answer = null;
  try { answer = JSON.parse(request.responseText); } catch (error) { answer = null; }
  if (answer && answer.error) uploadEnd(upload, String(answer.error));
  else if (request.status === 401 || request.status === 403) uploadEnd(upload, 'You are signed out. Sign in again in another tab, then try again.');
  else if (request.status >= 300 || !answer || !Array.isArray(answer.outcomes)) uploadEnd(upload, `The server could not take the files (code ${request.status}). Your list is kept.`);
  else uploadDone(upload, answer.outcomes);
}

function uploadEnd(upload, message) {
  upload.request = null;
  if (!upload.alive()) return;
  uploadTrouble(upload, message);
  uploadShow(upload);
}

function uploadTrouble(upload, message) {
  upload.part.trouble.hidden = !message;
  upload.part.error.textContent = message;
}

function uploadDone(upload, outcomes) {
  const good = outcomes.filter((each) => each.case), bad = outcomes.filter((each) => !each.case);
  upload.request = null;
  upload.chosen.length = 0;
  uploadShow(upload);
  const added = `${good.length} ${good.length === 1 ? 'case' : 'cases'} added.`;
  const failed = bad.length ? ` ${bad.length} ${bad.length === 1 ? 'file' : 'files'} could not be used.` : '';
  upload.part.status.textContent = added + failed;
  upload.part.results.replaceChildren(...good.map(uploadCase), ...bad.map((each) => uploadNode('li', 'is-problem', uploadProblem(each))));
  upload.send('done', { count: good.length });
}

function uploadProblem(each) {
  const text = each.problem || 'It could not be used.';
  return each.position ? `File ${each.position}: ${text}` : text;
}

function uploadCase(each) {
  const item = uploadNode('li', ''), link = item.appendChild(uploadNode('a', '', `Open ${each.case}`));
  link.href = `/app/?case=${encodeURIComponent(each.case)}`;
  link.dataset.case = each.case;
  if (each.title && each.title !== each.case) item.append(uploadNode('span', 'lbx-soft', ` ${each.title}`));
  const notes = [...(each.warnings || [])];
  if (each.problem) notes.unshift(uploadProblem(each));
  for (const warning of notes) item.append(uploadNode('p', '', warning));
  return item;
}

function uploadOpen(upload, link, event) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  upload.send('open', { case: link.dataset.case });
}

function uploadSize(bytes) {
  if (bytes < 1e3) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

function uploadNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
