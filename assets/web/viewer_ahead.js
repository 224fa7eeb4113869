// Ahead: a case is on the screen when it is clicked, and Python's own value of it follows.
// On `document`, the worklist and the rating form say 'lightbox-prefetch' for a case that is likely to be opened and
// 'lightbox-open' for one that is being opened, with { case, method }. To the second the viewer adds `until`: a promise
// of whether that case is still the one wanted, kept when it is on the screen or has been waited for. Gradio's own
// work for an event would otherwise hold up the picture. The viewer tells 'lightbox-shown' with { case, target }.

const LIGHTBOX_FRESH_MS = 60000;
const LIGHTBOX_MOST_AHEAD = 16;
const LIGHTBOX_HOLD_MS = 120;

function lightboxBindAhead(viewer) {
  const { signal } = viewer;
  Object.assign(viewer, { ahead: new Map(), opening: null, passed: new Set() });
  const bind = (name, act) => document.addEventListener(name, (event) => {
    if (viewer.alive() && event.detail && event.detail.case) act(event.detail);
  }, { signal });
  bind('lightbox-prefetch', (detail) => lightboxPrefetch(viewer, detail));
  bind('lightbox-open', (detail) => { detail.until = lightboxOpen(viewer, detail); });
}

// A value from Python; that of a case which the reader has passed over since is left aside.
function lightboxReceive(viewer, value) {
  if (!viewer.alive()) return;
  const given = typeof value === 'string' && value ? JSON.parse(value) : value, name = given ? given.case : null;
  if (viewer.passed.delete(name)) return;
  if (viewer.opening && viewer.opening.case === name) viewer.opening = null;
  lightboxTake(viewer, given);
}

// Shows a case that is being opened as soon as its addresses are known; a later one takes its place.
async function lightboxOpen(viewer, detail) {
  const before = viewer.opening, opening = { case: detail.case, isSent: false, isCurrent: true };
  if (before) before.isCurrent = false;
  if (before && before.isSent && before.case !== opening.case) viewer.passed.add(before.case);
  viewer.passed.delete(opening.case);
  viewer.opening = opening;
  const held = new Promise((done) => setTimeout(done, LIGHTBOX_HOLD_MS));
  await Promise.race([lightboxShowAhead(viewer, detail, opening), held]);
  opening.isSent = opening.isCurrent;
  return opening.isCurrent;
}

// Resolves after the frame in which the case is painted.
async function lightboxShowAhead(viewer, detail, opening) {
  const known = lightboxLookUp(viewer, detail, 'high'), value = known.found || await known.value;
  if (!value || viewer.opening !== opening || !viewer.alive()) return;
  lightboxReveal(viewer);
  lightboxFirst(viewer, value, viewer.store.want);
  lightboxTake(viewer, value);
  await lightboxComplete(viewer);
  await new Promise((done) => setTimeout(done));
}

// Selects the tab that holds the viewer.
function lightboxReveal(viewer) {
  const panel = viewer.root.closest('[role="tabpanel"]');
  const tab = panel && panel.id && document.querySelector(`[role="tab"][aria-controls="${CSS.escape(panel.id)}"]`);
  if (tab && tab.getAttribute('aria-selected') !== 'true') tab.click();
}

// What is known of a case: `value`, a promise of its value or null, and `found` once that is here.
function lightboxLookUp(viewer, detail, priority) {
  const { ahead } = viewer, key = `${detail.case}\n${detail.method || ''}`, now = performance.now();
  const known = ahead.get(key);
  if (known && now - known.asked < LIGHTBOX_FRESH_MS) return known;
  const query = detail.method ? `?method=${encodeURIComponent(detail.method)}` : '';
  const value = fetch(`/view/${encodeURIComponent(detail.case)}.json${query}`, { credentials: 'same-origin', signal: viewer.signal, priority })
    .then((answer) => (answer.ok ? answer.json() : null))
    .then((found) => (found && found.case === detail.case && Array.isArray(found.images) ? found : null))
    .catch(() => null);
  const entry = { asked: now, value, found: null };
  ahead.delete(key);
  ahead.set(key, entry);
  if (ahead.size > LIGHTBOX_MOST_AHEAD) ahead.delete(ahead.keys().next().value);
  value.then((found) => {
    entry.found = found;
    if (!found) ahead.delete(key);
  });
  return entry;
}

// Resolves when everything that is on the screen has come and is painted.
function lightboxComplete(viewer) {
  return new Promise((done) => { viewer.waiting.push(done); viewer.schedule(); });
}

// Fetches what a case would show first, once the case on the screen is complete.
async function lightboxPrefetch(viewer, detail) {
  await lightboxComplete(viewer);
  if (!viewer.alive() || (viewer.value && viewer.value.case === detail.case)) return;
  const value = await lightboxLookUp(viewer, detail, 'low').value;
  if (value && viewer.alive()) lightboxFirst(viewer, value, viewer.store.ahead);
}

// Asks for the layers that a case shows first, by one of the ways of the store.
function lightboxFirst(viewer, value, ask) {
  const wanted = () => lightboxShownUrls(viewer), images = value.images.slice(0, viewer.set.mode === 'all' ? undefined : 1);
  images.forEach((image, place) => {
    const frame = image.frame || 0, single = !(image.frames > 1);
    ask(image.url.replace('{frame}', String(frame)), ...lightboxBaseLoad(image), wanted);
    for (const layer of value.layers || []) {
      const here = layer.image === place && (single || (layer.frame || 0) === frame) && layer.visible !== false;
      if (here && lightboxDrawable(layer)) ask(layer.url, ...lightboxHeatLoad(layer), wanted);
    }
  });
}
