// The worklist: mountWorklist(element, getValue, send) lists the cases and reports which one to open.

const WORKLIST_CHUNK = 60;
const WORKLIST_STATUS = { new: 'New', explained: 'Explained', rated: 'Rated' };
const WORKLIST_LINGER_MS = 80;
const WORKLIST_FIRST = { id: 'ascending', status: 'ascending', created: 'descending' };

function mountWorklist(element, getValue, send) {
  if (element.panel) element.panel.dispose();
  const controller = new AbortController(), { signal } = controller, part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  const list = {
    element, part, signal, send, cases: [], shown: [], drawn: 0, current: null, opened: null,
    sort: { by: 'created', order: 'descending' }, dispose: () => { controller.abort(); observer.disconnect(); },
    alive: () => { if (!element.isConnected) list.dispose(); return !signal.aborted; },
  };
  const observer = new IntersectionObserver((entries) => {
    if (!list.alive() || !entries[entries.length - 1].isIntersecting || list.drawn >= list.shown.length) return;
    worklistDraw(list, list.drawn + WORKLIST_CHUNK);
    observer.unobserve(part.more); // so that it tells again where the end of the table still is in sight
    observer.observe(part.more);
  }, { root: part.scroll, rootMargin: '900px' });
  observer.observe(part.more);
  worklistBind(list);
  element.panel = { dispose: list.dispose, update: () => { if (list.alive()) worklistTake(list, getValue()); } };
  element.panel.update();
  return element.panel;
}

function worklistBind(list) {
  const { part, signal } = list, refresh = () => worklistFilter(list, true);
  part.search.addEventListener('input', refresh, { signal });
  part.status.addEventListener('change', refresh, { signal });
  part.modality.addEventListener('change', refresh, { signal });
  part.clear.addEventListener('click', () => worklistClear(list), { signal });
  part.form.addEventListener('submit', (event) => { event.preventDefault(); worklistFocus(list, 0); }, { signal });
  for (const head of part.table.querySelectorAll('[data-sort]')) {
    head.querySelector('button').addEventListener('click', () => worklistSort(list, head.dataset.sort), { signal });
  }
  part.rows.addEventListener('click', (event) => worklistClick(list, event), { signal });
  part.rows.addEventListener('focusin', (event) => {
    worklistMark(list, event.target.closest('tr'));
    worklistLinger(list, event.target.closest('tr'));
  }, { signal });
  part.rows.addEventListener('pointerover', (event) => worklistLinger(list, event.target.closest('tr')), { signal });
  part.rows.addEventListener('pointerleave', () => worklistLinger(list, null), { signal });
  part.root.addEventListener('keydown', (event) => worklistKey(list, event), { signal });
  document.addEventListener('keydown', (event) => worklistSlash(list, event), { signal });
}

// Takes a new value; the search, the order, the place in the list and the focus stay as they are.
function worklistTake(list, value) {
  list.cases = value && Array.isArray(value.cases) ? value.cases : [];
  const names = [...new Set(list.cases.flatMap((each) => each.modalities || []))].sort();
  const kept = list.part.modality.value;
  while (list.part.modality.options.length > 1) list.part.modality.remove(1);
  for (const name of names) list.part.modality.add(new Option(worklistModality(name), name));
  list.part.modality.value = names.includes(kept) ? kept : '';
  worklistFilter(list, false);
}

function worklistFilter(list, toTop) {
  const { part } = list, words = part.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const status = part.status.value, modality = part.modality.value;
  list.shown = list.cases.filter((each) => (!status || each.status === status)
    && (!modality || (each.modalities || []).includes(modality))
    && words.every((word) => worklistWords(each).includes(word)));
  const { by, order } = list.sort, sign = order === 'ascending' ? 1 : -1;
  const rank = Object.keys(WORKLIST_STATUS), key = (each) => (by === 'status' ? rank.indexOf(each.status) : String(each[by] || ''));
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  list.shown.sort((a, b) => sign * compare(key(a), key(b)) || compare(String(a.id), String(b.id)));
  worklistShow(list, toTop, Boolean(words.length || status || modality));
}

// What the search looks through.
function worklistWords(each) {
  const names = (each.modalities || []).map(worklistModality);
  return [each.id, ...names, WORKLIST_STATUS[each.status], worklistSource(each), worklistTime(each.created)].join(' ').toLowerCase();
}

function worklistShow(list, toTop, isFiltered) {
  const { part } = list, total = list.cases.length, count = list.shown.length;
  const held = part.rows.contains(document.activeElement) ? list.current : null, top = part.scroll.scrollTop;
  const drawn = toTop ? WORKLIST_CHUNK : Math.max(WORKLIST_CHUNK, list.drawn);
  if (!list.shown.some((each) => each.id === list.current)) list.current = count ? list.shown[0].id : null;
  part.rows.replaceChildren();
  list.drawn = 0;
  worklistDraw(list, drawn);
  part.scroll.scrollTop = toTop ? 0 : top;
  const link = held && held === list.current && part.rows.querySelector('a[tabindex="0"]');
  if (link) link.focus({ preventScroll: true });
  part.count.textContent = isFiltered ? `${count} of ${total} cases` : `${total} ${total === 1 ? 'case' : 'cases'}`;
  part.clear.hidden = !isFiltered;
  part.table.hidden = !count;
  part.empty.hidden = count > 0;
  part.empty.textContent = total ? 'No case matches. Change the search or the filters.' : 'No cases yet. Upload images to begin.';
  for (const head of part.table.querySelectorAll('[data-sort]')) {
    if (head.dataset.sort === list.sort.by) head.setAttribute('aria-sort', list.sort.order);
    else head.removeAttribute('aria-sort');
  }
}

// Adds rows until `wanted` of them stand in the table; more follow when the reader scrolls.
function worklistDraw(list, wanted) {
  const until = Math.min(wanted, list.shown.length);
  if (until <= list.drawn) return;
  const rows = document.createDocumentFragment();
  for (; list.drawn < until; list.drawn += 1) rows.append(worklistRow(list, list.shown[list.drawn]));
  list.part.rows.append(rows);
}

function worklistRow(list, each) {
  const row = worklistNode('tr', ''), cell = () => row.appendChild(worklistNode('td', ''));
  row.dataset.case = each.id;
  if (each.id === list.opened) row.setAttribute('aria-current', 'true');
  cell().append(worklistPicture(each));
  const name = cell(), link = name.appendChild(worklistNode('a', 'lbw-id', each.id));
  link.href = `/app/?case=${encodeURIComponent(each.id)}`;
  link.tabIndex = each.id === list.current ? 0 : -1;
  name.append(worklistNode('span', 'lbw-from', worklistSource(each)));
  const badges = cell().appendChild(worklistNode('span', 'lbw-badges'));
  for (const modality of each.modalities || []) badges.append(worklistNode('span', 'lbx-badge', worklistModality(modality)));
  cell().append(worklistNode('span', 'lbw-images', worklistImages(each)));
  const status = cell().appendChild(worklistNode('span', 'lbw-status', WORKLIST_STATUS[each.status] || 'New'));
  if (WORKLIST_STATUS[each.status]) status.classList.add(`is-${each.status}`);
  const time = cell().appendChild(worklistNode('time', '')), [day, hour] = worklistTime(each.created).split(' ');
  time.append(worklistNode('span', '', day), ' ', worklistNode('span', '', hour));
  time.dateTime = String(each.created || '');
  return row;
}

function worklistPicture(each) {
  const frame = worklistNode('span', 'lbw-thumb'), address = String(each.thumbnail || '');
  if (!/^\/(?![/\\])/.test(address)) return frame;
  const picture = frame.appendChild(worklistNode('img', ''));
  Object.assign(picture, { loading: 'lazy', decoding: 'async', alt: '', width: 56, height: 56 });
  picture.addEventListener('error', () => picture.remove());
  picture.src = address;
  return frame;
}

function worklistNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function worklistModality(name) {
  return String(name).length <= 3 ? String(name).toUpperCase() : String(name).charAt(0).toUpperCase() + String(name).slice(1);
}

function worklistSource(each) {
  const source = each.source === 'upload' ? 'Upload' : 'Demonstration';
  return each.owner ? `${source} · ${each.owner}` : source;
}

function worklistImages(each) {
  const images = Number(each.images) || 0, frames = Number(each.frames) || images;
  const text = `${images} ${images === 1 ? 'image' : 'images'}`;
  return frames > images ? `${text}, ${frames} frames` : text;
}

// A moment in the reader's own time zone, to the minute.
function worklistTime(moment) {
  const date = new Date(moment), two = (number) => String(number).padStart(2, '0');
  if (!moment || Number.isNaN(date.getTime())) return '';
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

function worklistSort(list, by) {
  const { sort } = list, turned = sort.order === 'ascending' ? 'descending' : 'ascending';
  list.sort = { by, order: sort.by === by ? turned : WORKLIST_FIRST[by] };
  worklistFilter(list, true);
}

function worklistClear(list) {
  const { part } = list;
  part.search.value = part.status.value = part.modality.value = '';
  worklistFilter(list, true);
  part.search.focus();
}

// A plain click opens the case here; with Ctrl, Shift or the middle button the link does its own work.
function worklistClick(list, event) {
  const row = event.target.closest('tr');
  if (!row || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  worklistMark(list, row);
  list.opened = row.dataset.case;
  for (const each of list.part.rows.querySelectorAll('[aria-current]')) each.removeAttribute('aria-current');
  row.setAttribute('aria-current', 'true');
  worklistLinger(list, null);
  const { until } = worklistTell('lightbox-open', row), send = () => list.send('open', { case: row.dataset.case });
  if (until) until.then((isCurrent) => { if (isCurrent) send(); });
  else send();
}

// Says to the viewer which case is about to be opened; gives what the viewer adds (see viewer_ahead.js).
function worklistTell(name, row) {
  const detail = { case: row.dataset.case };
  document.dispatchEvent(new CustomEvent(name, { detail }));
  return detail;
}

// A row on which the mouse or the focus rests for a moment is likely to be opened.
function worklistLinger(list, row) {
  if (row && row === list.lingering) return;
  clearTimeout(list.linger);
  list.lingering = row;
  if (row) list.linger = setTimeout(() => { if (list.alive()) worklistTell('lightbox-prefetch', row); }, WORKLIST_LINGER_MS);
}

// Makes one row the only one that the Tab key reaches.
function worklistMark(list, row) {
  if (!row) return;
  const old = list.part.rows.querySelector('a[tabindex="0"]'), link = row.querySelector('a');
  if (old && old !== link) old.tabIndex = -1;
  link.tabIndex = 0;
  list.current = row.dataset.case;
}

function worklistFocus(list, index) {
  if (!list.shown.length) return;
  const place = Math.min(list.shown.length - 1, Math.max(0, index));
  worklistDraw(list, place + 20);
  const row = list.part.rows.rows[place];
  worklistMark(list, row);
  row.querySelector('a').focus({ preventScroll: true });
  row.scrollIntoView({ block: 'nearest' });
}

function worklistKey(list, event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  if (event.target === list.part.search) {
    if (event.key === 'Escape' && list.part.search.value) { list.part.search.value = ''; worklistFilter(list, true); event.preventDefault(); }
    if (event.key === 'ArrowDown') { event.preventDefault(); worklistFocus(list, 0); }
    return;
  }
  if (!list.part.rows.contains(event.target)) return;
  const here = list.shown.findIndex((each) => each.id === list.current), page = 8, last = list.shown.length - 1;
  const places = { ArrowDown: here + 1, ArrowUp: here - 1, PageDown: here + page, PageUp: here - page, Home: 0, End: last };
  if (!(event.key in places)) return;
  event.preventDefault();
  if (event.key === 'ArrowUp' && here === 0) list.part.search.focus();
  else worklistFocus(list, places[event.key]);
}

// The slash puts the cursor into the search, unless a field is being filled or keys are switched off.
function worklistSlash(list, event) {
  if (!list.alive() || event.key !== '/' || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.composedPath()[0];
  if (target instanceof Element && (target.isContentEditable || target.closest('input, textarea, select'))) return;
  if (!list.part.root.getClientRects().length || document.querySelector('dialog[open]')) return;
  try { if (localStorage.getItem('lightbox.keys') === 'off') return; } catch (error) { /* a private window keeps nothing */ }
  event.preventDefault();
  list.part.search.focus();
  list.part.search.select();
}
