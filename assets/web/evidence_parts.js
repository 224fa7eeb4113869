// The evidence panel, part 1: nodes that are kept and changed in place, addresses of tiles, words for time.

const EVIDENCE_BUSY = ['waiting', 'running'];

function evidenceNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  if (tag === 'button') node.type = 'button';
  return node;
}

// Sets only what differs, so that nothing flickers, no selection is lost and nothing is read aloud twice.
function evidenceText(node, text) {
  const words = text === undefined || text === null ? '' : String(text);
  if (node.textContent !== words) node.textContent = words;
  return node;
}

// A line that is there only while it has something to say.
function evidenceLine(node, text) {
  evidenceText(node, text);
  evidenceHide(node, !text);
  return node;
}

function evidenceHide(node, isHidden) {
  if (node.hidden !== Boolean(isHidden)) node.hidden = Boolean(isHidden);
}

function evidenceData(node, name, value) {
  if (node.dataset[name] !== String(value)) node.dataset[name] = value;
}

function evidenceStyle(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

function evidenceSet(node, name, value) {
  const wanted = value === null || value === undefined || value === '' ? null : String(value);
  if (node.getAttribute(name) === wanted) return;
  if (wanted === null) node.removeAttribute(name);
  else node.setAttribute(name, wanted);
}

// Makes the children of a node match a list: those with a known key are kept and filled anew, in their place.
function evidenceEach(parent, items, key, make, fill) {
  const names = items.map((item, place) => String(key(item, place))), wanted = new Set(names), kept = new Map();
  for (const node of [...parent.children]) {
    if (wanted.has(node.dataset.key) && !kept.has(node.dataset.key)) kept.set(node.dataset.key, node);
    else node.remove();
  }
  let next = parent.firstElementChild;
  items.forEach((item, place) => {
    let node = kept.get(names[place]);
    if (!node) {
      node = make(item);
      node.dataset.key = names[place];
    }
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
    if (fill) fill(node, item, place);
  });
}

// The lasting child of a node under one name, made when it is first asked for.
function evidenceChild(parent, name, make) {
  parent.evidence = parent.evidence || {};
  if (!parent.evidence[name]) parent.evidence[name] = parent.appendChild(make());
  return parent.evidence[name];
}

// The address of a picture as the reader wants it drawn; only our own addresses are asked for. A consensus is made
// of ranks and has no grid of its own.
function evidenceAddress(ev, tile, ways) {
  const given = String(tile || '');
  if (!given.startsWith('/evidence/')) return '';
  const address = new URL(given, location.origin), { smooth, native, scale } = ev.view;
  if (address.origin !== location.origin) return '';
  if (ways) {
    if (smooth > 0) address.searchParams.set('smooth', String(smooth));
    if (native && ways === 'map') address.searchParams.set('native', '1');
    address.searchParams.set('scale', ways === 'map' ? scale : 'common');
  }
  return address.pathname + address.search;
}

// Another way to draw the same map replaces the picture when it is there; another map leaves no trace of the last.
function evidencePicture(image, address, alt) {
  const shown = image.getAttribute('src') || '';
  evidenceSet(image, 'alt', alt);
  if (shown === address) return;
  if (shown.split('?')[0] !== address.split('?')[0]) image.removeAttribute('src');
  image.onload = () => image.classList.remove('is-missing', 'is-loading');
  image.onerror = () => { image.classList.remove('is-loading'); image.classList.add('is-missing'); };
  image.classList.add('is-loading');
  image.classList.remove('is-missing');
  if (address) image.setAttribute('src', address);
}

function evidenceMade(kind, ways) {
  const image = evidenceNode('img', kind);
  Object.assign(image, { decoding: 'async', draggable: false }, ways);
  return image;
}

function evidenceMethods(value) {
  return (value.families || []).flatMap((family) => family.methods || []);
}

function evidenceImage(ev) {
  const images = ev.value.images || [];
  return images.find((each) => each.image === ev.view.image) || images[0] || { image: 0, title: 'Image', tile: '', width: 1, height: 1 };
}

function evidenceMap(method, image) {
  return (method.maps || []).find((each) => each.image === image.image) || null;
}

function evidenceNumber(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits === undefined ? 2 : digits).replace('-', '\u2212') : '\u2014';
}

function evidencePercent(value) {
  return Number.isFinite(value) ? `${value > 0 && value < 0.01 ? '< 1' : Math.round(100 * value)} %` : '\u2014';
}

// A length of time as one would say it.
function evidenceTime(seconds) {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 10) return 'a few seconds';
  if (seconds < 55) return `about ${Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `about ${Math.max(1, minutes)} min` : `about ${(minutes / 60).toFixed(1)} h`;
}

// What is known of a job under way: words, share and the time left.
function evidenceProgress(state, job) {
  const known = job || {};
  if (state === 'waiting') {
    return { share: null, words: known.position > 1 ? `Waiting, number ${known.position} in the queue` : 'Waiting to start', left: '' };
  }
  const share = Number.isFinite(known.share) ? Math.min(1, Math.max(0, known.share)) : null;
  const left = Number.isFinite(known.left_s) ? `${evidenceTime(known.left_s)} left` : '';
  return { share, words: share === null ? 'Running' : `${Math.floor(100 * share)} %`, left: left || known.message || '' };
}

// The bar of a job; without a share it says only that the work is under way.
function evidenceBar(bar, progress, label) {
  evidenceSet(bar, 'aria-label', label);
  evidenceSet(bar, 'value', progress.share);
  bar.classList.toggle('is-vague', progress.share === null);
}
