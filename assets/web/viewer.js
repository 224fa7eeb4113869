// The layered image viewer: mountLightboxViewer(element, getValue, onPick) brings the markup to life.

function mountLightboxViewer(element, getValue, onPick) {
  if (element.lightbox) element.lightbox.dispose();
  const root = element.querySelector('[data-lbv="root"]'), controller = new AbortController();
  const viewer = {
    element, root, onPick, signal: controller.signal, value: null, generation: 0,
    images: [], layers: [], panes: [], frames: [], windows: [], inverts: [], views: [], rulers: [],
    visible: new Map(), part: {}, field: {}, button: {}, cursor: null, settling: 0, drawTimes: [], waiting: [], frame: 0,
    set: { active: 0, mode: 'single', opacity: 40, threshold: 0, map: 'inferno', constant: false, overlay: true,
      held: false, regions: true, patches: true, cell: false, tool: 'pan', keys: lightboxWantsKeys() },
  };
  for (const [kind, attribute] of [['part', 'lbv'], ['field', 'set'], ['button', 'do']]) {
    for (const node of root.querySelectorAll(`[data-${attribute}]`)) viewer[kind][node.dataset[attribute]] = node;
  }
  for (const name of Object.keys(LIGHTBOX_COLOUR_MAPS)) {
    const option = [...viewer.field.map.options].find((o) => o.value === name) || lightboxNode('option', '', viewer.field.map);
    option.value = name;
    option.textContent = name === 'jet' ? 'jet (legacy)' : name;
  }
  viewer.store = lightboxStore(viewer.signal, () => viewer.schedule());
  lightboxEquip(viewer, controller);
  lightboxBindToolbar(viewer);
  lightboxBindStage(viewer);
  lightboxBindKeys(viewer);
  lightboxResetFields(viewer);
  const observer = new ResizeObserver(() => viewer.alive() && viewer.schedule());
  observer.observe(viewer.part.stage);
  viewer.signal.addEventListener('abort', () => observer.disconnect());
  lightboxBindAhead(viewer);
  element.lightbox = lightboxHandle(viewer, () => lightboxReceive(viewer, getValue()));
  element.lightbox.update();
  return element.lightbox;
}

// Small helpers that the other files call through the viewer.
function lightboxEquip(viewer, controller) {
  viewer.dispose = () => {
    if (viewer.signal.aborted) return;
    controller.abort();
    cancelAnimationFrame(viewer.frame);
    clearTimeout(viewer.settling);
    viewer.waiting.splice(0).forEach((done) => done());
    if (viewer.element.lightbox && viewer.element.lightbox.viewer === viewer.handleId) delete viewer.element.lightbox;
  };
  viewer.alive = () => {
    if (!viewer.element.isConnected) viewer.dispose();
    return !viewer.signal.aborted;
  };
  viewer.schedule = () => {
    if (!viewer.frame && !viewer.signal.aborted) viewer.frame = requestAnimationFrame(() => lightboxPaint(viewer));
  };
  viewer.say = (text, isError) => {
    lightboxText(viewer.part.status, text);
    viewer.part.status.classList.toggle('is-error', Boolean(isError));
  };
  viewer.urlOf = (image) => viewer.images[image].url.replace('{frame}', String(viewer.frames[image]));
  viewer.entryOf = (image) => viewer.store.entries.get(viewer.urlOf(image));
  viewer.range = (image) => {
    const meta = viewer.images[image], entry = viewer.entryOf(image);
    return entry && entry.codes ? Math.max((entry.high - entry.low) * Math.abs(meta.slope), 1e-6) : viewer.windows[image].width;
  };
  viewer.drawn = (pane) => (pane.bare ? [] : lightboxLayersOf(viewer, pane).filter((layer) => {
    const entry = lightboxDrawable(layer) && viewer.store.entries.get(layer.url);
    return entry && entry.state === 'ready';
  }));
}

// The read-only object that tests and the page may look at.
function lightboxHandle(viewer, update) {
  viewer.handleId = {};
  return {
    viewer: viewer.handleId, update, dispose: viewer.dispose, drawTimes: viewer.drawTimes,
    get requests() { return viewer.store.requests; },
    get ready() {
      return new Promise((done) => { viewer.waiting.push(done); viewer.schedule(); });
    },
    state: () => ({
      case: viewer.value && viewer.value.case, ...viewer.set, frames: [...viewer.frames], inverts: [...viewer.inverts],
      windows: viewer.windows.map((window) => ({ ...window })), rulers: viewer.rulers.map((line) => line && [...line]),
      visible: Object.fromEntries(viewer.visible), status: viewer.part.status.textContent,
      views: viewer.panes.map((pane) => ({ image: pane.image, bare: pane.bare, shown: pane.shown, ...lightboxPlace(viewer, pane) })),
    }),
    cursorToPixel: (clientX, clientY) => {
      const pane = viewer.panes.find((p) => {
        const r = p.node.getBoundingClientRect();
        return clientX >= r.left && clientX < r.right && clientY >= r.top && clientY < r.bottom;
      });
      if (!pane) return null;
      const point = lightboxLocate(viewer, pane, clientX, clientY);
      return { image: pane.image, column: point.column, row: point.row };
    },
  };
}

function lightboxResetFields(viewer) {
  const { field, set, part } = viewer;
  for (const name of ['overlay', 'constant', 'regions', 'patches', 'cell', 'keys']) field[name].checked = set[name];
  for (const name of ['opacity', 'threshold', 'map']) field[name].value = String(set[name]);
  for (const name of ['opacity', 'threshold']) part[name].textContent = `${set[name]} %`;
}

// Takes a new value; the same case keeps zoom, window and choices, another case starts afresh.
function lightboxTake(viewer, given) {
  const old = viewer.value, next = given && given.images ? given : { images: [] };
  const same = old && old.case === next.case && old.images.length === next.images.length
    && old.images.every((image, i) => image.width === next.images[i].width && image.height === next.images[i].height && image.url === next.images[i].url);
  const asked = new Map((same ? old.layers || [] : []).map((layer) => [layer.id, layer.visible !== false]));
  const chosen = viewer.visible;
  viewer.value = next;
  viewer.generation++;
  viewer.images = next.images.map((image) => ({ slope: 1, intercept: 0, frames: 1, ...image }));
  viewer.layers = (next.layers || []).map((layer) => ({ frame: 0, ...layer }));
  viewer.visible = new Map(viewer.layers.map((layer) => {
    const wish = layer.visible !== false;
    return [layer.id, asked.get(layer.id) === wish ? chosen.get(layer.id) : wish];
  }));
  if (!same) lightboxStartCase(viewer);
  const urls = new Set(viewer.layers.map((layer) => layer.url));
  const bases = viewer.images.map((image) => image.url.split('{frame}'));
  viewer.store.keep((url) => urls.has(url) || bases.some((ends) => url.startsWith(ends[0]) && url.endsWith(ends[ends.length - 1])));
  viewer.store.retry();
  lightboxShowCase(viewer);
  viewer.schedule();
  document.dispatchEvent(new CustomEvent('lightbox-shown', { detail: { case: next.case || '', target: (viewer.layers[0] || {}).target || '' } }));
}

function lightboxStartCase(viewer) {
  const { images, set } = viewer;
  set.active = 0;
  if (set.mode === 'all' && images.length < 2) set.mode = 'single';
  viewer.frames = images.map((image) => Math.min(image.frames - 1, Math.max(0, image.frame || 0)));
  viewer.windows = images.map((image) => (!image.colour && image.windows && image.windows.length ? lightboxFileWindow(image, 0) : null));
  viewer.inverts = images.map(() => false);
  viewer.views = images.map((image) => ({ fit: true, scale: 1, column: image.width / 2, row: image.height / 2 }));
  viewer.rulers = images.map(() => null);
  viewer.panes.forEach((pane) => pane.node.remove());
  viewer.panes = [];
  viewer.pendingRuler = null;
  viewer.cursor = null;
}

// Visible layers that belong on what a pane shows.
function lightboxLayersOf(viewer, pane) {
  const frame = pane.shown ? pane.shown.frame : viewer.frames[pane.image], single = viewer.images[pane.image].frames <= 1;
  return viewer.layers.filter((layer) => layer.image === pane.image && (single || layer.frame === frame) && viewer.visible.get(layer.id));
}

// Makes the panes of the present layout, keeping those that already fit.
function lightboxArrange(viewer) {
  const { mode, active } = viewer.set, all = viewer.images.map((_, i) => ({ image: i, bare: false }));
  const single = [{ image: active, bare: false }], plan = mode === 'all' ? all : mode === 'compare' ? [{ image: active, bare: true }, ...single] : single;
  const wanted = viewer.images.length ? plan : [];
  const fits = wanted.length === viewer.panes.length && wanted.every((w, i) => w.image === viewer.panes[i].image && w.bare === viewer.panes[i].bare);
  if (!fits) {
    const spare = viewer.panes;
    viewer.panes = wanted.map((w) => {
      const kept = spare.findIndex((pane) => pane.image === w.image && pane.bare === w.bare);
      return kept >= 0 ? spare.splice(kept, 1)[0] : lightboxPane(viewer, w.image, w.bare);
    });
    spare.forEach((pane) => pane.node.remove());
    viewer.panes.forEach((pane) => viewer.part.stage.appendChild(pane.node));
    const count = viewer.panes.length, across = count <= 3 ? count : Math.ceil(Math.sqrt(count));
    viewer.part.stage.style.gridTemplateColumns = `repeat(${Math.max(1, across)}, minmax(0, 1fr))`;
  }
  for (const pane of viewer.panes) {
    pane.width = pane.node.clientWidth; pane.height = pane.node.clientHeight;
    pane.node.classList.toggle('is-active', viewer.set.mode === 'all' && pane.image === active);
    for (const tool of ['window', 'ruler']) pane.node.classList.toggle(`is-${tool}`, viewer.set.tool === tool);
  }
}

// Url, size and decoder of the frame that a pane should show.
function lightboxWantBase(viewer, pane) {
  const meta = viewer.images[pane.image], frame = viewer.frames[pane.image], url = viewer.urlOf(pane.image);
  const entry = viewer.store.want(url, ...lightboxBaseLoad(meta), () => lightboxShownUrls(viewer));
  return { frame, url, entry };
}

function lightboxShownUrls(viewer) {
  const urls = new Set();
  for (const pane of viewer.panes) {
    if (pane.shown) urls.add(pane.shown.url);
    urls.add(viewer.urlOf(pane.image));
    lightboxLayersOf(viewer, pane).forEach((layer) => urls.add(layer.url));
  }
  return urls;
}

function lightboxPaint(viewer) {
  viewer.frame = 0;
  if (!viewer.alive()) return;
  const started = performance.now();
  lightboxArrange(viewer);
  viewer.panes.forEach((pane) => lightboxPaintPane(viewer, pane));
  lightboxPaintRest(viewer);
  viewer.drawTimes.push(performance.now() - started);
  if (viewer.drawTimes.length > 500) viewer.drawTimes.splice(0, 100);
  if (!viewer.store.pending && !viewer.frame && !viewer.settling) viewer.waiting.splice(0).forEach((done) => done());
}

function lightboxPaintPane(viewer, pane) {
  const meta = viewer.images[pane.image], wanted = lightboxWantBase(viewer, pane), { entry } = wanted;
  if (!pane.width || !pane.height) return;
  if (entry.state === 'ready') {
    pane.shown = { frame: wanted.frame, url: wanted.url };
    if (!viewer.windows[pane.image] && !meta.colour) {
      viewer.windows[pane.image] = { ...lightboxFullRange(meta, entry.low, entry.high), preset: 'full' };
      lightboxShowWindow(viewer);
    }
  }
  for (const layer of pane.bare ? [] : lightboxLayersOf(viewer, pane)) {
    if (lightboxDrawable(layer)) viewer.store.want(layer.url, ...lightboxHeatLoad(layer), () => lightboxShownUrls(viewer));
  }
  pane.scene.hidden = !pane.shown;
  pane.svg.style.display = pane.shown ? '' : 'none';
  pane.ruler.hidden = !pane.shown;
  lightboxPaintWords(viewer, pane, wanted, entry);
  const shown = pane.shown && viewer.store.entries.get(pane.shown.url);
  if (!shown || shown.state !== 'ready') return;
  lightboxPaintBase(viewer, pane, shown);
  const layers = viewer.drawn(pane), moved = lightboxPaintView(viewer, pane);
  lightboxPaintHeat(viewer, pane, layers);
  lightboxPaintMarks(viewer, pane, layers, moved);
  if (moved) lightboxPaintScaleBar(viewer, pane);
  pane.node.classList.toggle('is-bare', pane.bare || viewer.set.held || !viewer.set.overlay);
}

// What is drawn once for all panes: toolbar states, colour scale, readout, status, memory.
function lightboxPaintRest(viewer) {
  const { set, cursor, store } = viewer, press = (name, on) => viewer.button[name].setAttribute('aria-pressed', String(on));
  press('compare', set.mode === 'compare'); press('all', set.mode === 'all'); press('invert', Boolean(viewer.inverts[set.active]));
  press('full', document.fullscreenElement === viewer.root);
  for (const node of viewer.root.querySelectorAll('[data-tool]')) node.setAttribute('aria-pressed', String(node.dataset.tool === set.tool));
  const main = viewer.panes.find((pane) => pane.image === set.active && !pane.bare), layers = main ? viewer.drawn(main) : [];
  lightboxPaintScale(viewer, layers[layers.length - 1], layers.length > 1);
  const pane = cursor && viewer.panes.includes(cursor.pane) ? cursor.pane : null;
  const point = pane && lightboxLocate(viewer, pane, cursor.clientX, cursor.clientY);
  lightboxText(viewer.part.readout, pane ? lightboxReadout(viewer, pane, point) : '');
  for (const each of viewer.panes) lightboxPaintCell(viewer, each, viewer.drawn(each), each === pane ? point : null);
  lightboxReport(viewer);
  const shown = lightboxShownUrls(viewer);
  for (const [url, entry] of store.entries) {
    if (!shown.has(url) && entry.picture) Object.assign(entry, { picture: null, canvas: null, tone: null });
  }
}

// Status line: what is loading, or which part failed and why.
function lightboxReport(viewer) {
  const failed = [];
  for (const pane of viewer.panes) {
    const entry = viewer.entryOf(pane.image);
    if (entry && entry.state === 'failed') failed.push(`${viewer.images[pane.image].name || 'The image'} could not be loaded: ${entry.error}.`);
    for (const layer of pane.bare ? [] : lightboxLayersOf(viewer, pane)) {
      const heat = viewer.store.entries.get(layer.url);
      if (heat && heat.state === 'failed') failed.push(`The map "${layer.label}" could not be loaded: ${heat.error}.`);
    }
  }
  const text = [...new Set(failed)].join(' '), loading = viewer.store.pending > 0;
  viewer.button.retry.hidden = !text;
  if (text) viewer.say(text, true);
  else if (loading) viewer.say('Loading …');
  else if (viewer.reported || viewer.wasLoading) viewer.say(viewer.images.length ? 'Loaded.' : 'No case is open.');
  else if (!viewer.images.length) viewer.say('No case is open.');
  viewer.reported = text;
  viewer.wasLoading = loading;
}
