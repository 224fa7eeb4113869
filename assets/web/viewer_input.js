// Input: toolbar, mouse and keys become changes of the state; nothing here draws.

function lightboxBindToolbar(viewer) {
  const { root, signal, field, set } = viewer, act = lightboxActions(viewer);
  viewer.act = act;
  root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button || !root.contains(button)) return;
    if (button.dataset.tool) lightboxTool(viewer, button.dataset.tool);
    else if (button.dataset.do && act[button.dataset.do]) act[button.dataset.do]();
  }, { signal });
  for (const name of ['opacity', 'threshold', 'constant', 'map', 'overlay', 'regions', 'patches', 'cell', 'keys']) {
    const input = field[name], event = input.type === 'checkbox' || name === 'map' ? 'change' : 'input';
    input.addEventListener(event, () => {
      set[name] = input.type === 'checkbox' ? input.checked : input.type === 'range' ? Number(input.value) : input.value;
      if (viewer.part[name]) viewer.part[name].textContent = `${set[name]} %`;
      if (name === 'threshold') lightboxDragThreshold(viewer);
      if (name === 'keys') lightboxRememberKeys(set.keys);
      viewer.schedule();
    }, { signal });
  }
  field.frame.addEventListener('input', () => lightboxToFrame(viewer, Number(field.frame.value) - 1), { signal });
  field.preset.addEventListener('change', () => lightboxPreset(viewer, Number(field.preset.value)), { signal });
  for (const name of ['centre', 'width']) {
    field[name].addEventListener('change', () => lightboxSetWindow(viewer, viewer.set.active, { [name]: Number(field[name].value) }, field[name].value.trim() !== ''), { signal });
  }
  const hold = viewer.button.hold, held = (on) => () => { set.held = on; viewer.schedule(); };
  hold.addEventListener('pointerdown', held(true), { signal });
  for (const name of ['pointerup', 'pointercancel', 'pointerleave', 'blur']) hold.addEventListener(name, held(false), { signal });
  hold.addEventListener('keydown', (event) => { if (event.key === ' ' || event.key === 'Enter') held(true)(); }, { signal });
  hold.addEventListener('keyup', held(false), { signal });
}

// Whether single-key shortcuts are wanted on this computer.
function lightboxWantsKeys() {
  try { return localStorage.getItem('lightbox.keys') !== 'off'; } catch (error) { return true; }
}

function lightboxRememberKeys(on) {
  try { localStorage.setItem('lightbox.keys', on ? 'on' : 'off'); } catch (error) { /* a private window keeps nothing */ }
}

// What the buttons and keys do, by name.
function lightboxActions(viewer) {
  const { set } = viewer;
  const mode = (name) => () => { set.mode = set.mode === name ? 'single' : name; viewer.schedule(); };
  return {
    in: () => lightboxZoom(viewer, 1.25), out: () => lightboxZoom(viewer, 0.8),
    fit: () => { lightboxPanesViews(viewer).forEach((view) => { view.fit = true; }); viewer.schedule(); },
    one: () => lightboxScaleTo(viewer, 1 / (window.devicePixelRatio || 1)),
    compare: mode('compare'), all: () => { if (viewer.images.length > 1) mode('all')(); },
    invert: () => { viewer.inverts[set.active] = !viewer.inverts[set.active]; viewer.say(viewer.inverts[set.active] ? 'Grey scale inverted.' : 'Grey scale as stored.'); viewer.schedule(); },
    overlay: () => { set.overlay = !set.overlay; viewer.field.overlay.checked = set.overlay; viewer.say(set.overlay ? 'Overlay on.' : 'Overlay off.'); viewer.schedule(); },
    full: () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else if (viewer.root.requestFullscreen) viewer.root.requestFullscreen().catch(() => viewer.say('This browser does not allow full screen here.'));
    },
    help: () => { const help = viewer.part.help; if (help.open) help.close(); else help.showModal(); },
    close: () => viewer.part.help.close(),
    retry: () => { viewer.store.retry(); viewer.schedule(); },
  };
}

function lightboxPanesViews(viewer) {
  return viewer.panes.map((pane) => viewer.views[pane.image]);
}

function lightboxTool(viewer, tool) {
  viewer.set.tool = viewer.set.tool === tool ? 'pan' : tool;
  viewer.pendingRuler = null;
  viewer.schedule();
}

function lightboxActivate(viewer, image) {
  if (viewer.set.active === image) return;
  viewer.set.active = image;
  lightboxShowActive(viewer);
  viewer.schedule();
}

function lightboxToFrame(viewer, frame) {
  const image = viewer.set.active, last = viewer.images[image].frames - 1;
  viewer.frames[image] = Math.min(last, Math.max(0, frame));
  lightboxShowFrame(viewer);
  viewer.schedule();
}

// Changes centre or width by hand; refuses what the window function does not allow.
function lightboxSetWindow(viewer, image, change, usable = true) {
  const old = viewer.windows[image];
  if (old && usable && Object.values(change).every(Number.isFinite)) {
    const next = { ...old, ...change, preset: 'custom' };
    next.width = Math.max(next.width, lightboxLeastWidth(next, viewer.range(image)));
    viewer.windows[image] = next;
  }
  lightboxShowWindow(viewer);
  viewer.schedule();
}

function lightboxPreset(viewer, index) {
  const image = viewer.set.active, meta = viewer.images[image], files = meta.windows || [];
  if (index < files.length) viewer.windows[image] = lightboxFileWindow(meta, index);
  else if (index === files.length) {
    const entry = viewer.entryOf(image);
    if (entry && entry.codes) viewer.windows[image] = { ...lightboxFullRange(meta, entry.low, entry.high), preset: 'full' };
  }
  lightboxShowWindow(viewer);
  viewer.schedule();
}

function lightboxFileWindow(meta, index) {
  const stated = meta.windows[index];
  return { centre: stated.centre, width: stated.width, function: stated.function || 'LINEAR', preset: index };
}

// Zooms by a factor; the point (clientX, clientY) stays where it is, or the middle when there is none.
function lightboxZoom(viewer, factor, pane, clientX, clientY) {
  const target = pane || viewer.panes.find((p) => p.image === viewer.set.active);
  if (!target) return;
  const place = lightboxPlace(viewer, target);
  lightboxScaleTo(viewer, place.scale * factor, target, clientX, clientY);
}

function lightboxScaleTo(viewer, scale, pane, clientX, clientY) {
  const target = pane || viewer.panes.find((p) => p.image === viewer.set.active);
  if (!target) return;
  const view = viewer.views[target.image], rect = target.node.getBoundingClientRect(), place = lightboxPlace(viewer, target);
  const kept = Math.min(64, Math.max(Math.min(0.05, place.fitted), scale)), growth = kept / place.scale;
  const offX = clientX === undefined ? 0 : clientX - rect.left - target.width / 2;
  const offY = clientY === undefined ? 0 : clientY - rect.top - target.height / 2;
  view.column += offX / place.sx * (1 - 1 / growth);
  view.row += offY / place.sy * (1 - 1 / growth);
  view.scale = kept;
  view.fit = false;
  lightboxClamp(viewer, target.image);
  viewer.schedule();
}

// Moves the picture by screen pixels.
function lightboxMove(viewer, pane, dx, dy) {
  const view = viewer.views[pane.image], place = lightboxPlace(viewer, pane);
  view.scale = place.scale; view.fit = false;
  view.column -= dx / place.sx; view.row -= dy / place.sy;
  lightboxClamp(viewer, pane.image);
  viewer.schedule();
}

function lightboxClamp(viewer, image) {
  const view = viewer.views[image], meta = viewer.images[image];
  view.column = Math.min(meta.width, Math.max(0, view.column));
  view.row = Math.min(meta.height, Math.max(0, view.row));
}

function lightboxBindStage(viewer) {
  const { stage } = viewer.part, { signal } = viewer;
  const paneOf = (event) => viewer.panes.find((pane) => pane.node.contains(event.target));
  let drag = null;
  stage.addEventListener('contextmenu', (event) => event.preventDefault(), { signal });
  stage.addEventListener('wheel', (event) => {
    const pane = paneOf(event);
    if (!pane) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    lightboxZoom(viewer, Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * 0.0016), pane, event.clientX, event.clientY);
  }, { signal, passive: false });
  stage.addEventListener('pointerdown', (event) => {
    const pane = paneOf(event);
    if (!pane || !pane.shown) return;
    if (event.button === 1) event.preventDefault();
    lightboxActivate(viewer, pane.image);
    const tool = event.button === 2 ? 'window' : event.button === 1 ? 'pan' : viewer.set.tool;
    drag = { pane, tool, x: event.clientX, y: event.clientY, moved: 0, image: pane.image };
    if (tool === 'ruler') lightboxStartRuler(viewer, drag, event);
    pane.node.classList.toggle('is-moving', tool === 'pan');
    stage.setPointerCapture(event.pointerId);
  }, { signal });
  stage.addEventListener('pointermove', (event) => {
    const pane = drag ? drag.pane : paneOf(event);
    viewer.cursor = pane ? { pane, clientX: event.clientX, clientY: event.clientY } : null;
    if (drag) lightboxDrag(viewer, drag, event);
    else if (viewer.pendingRuler && pane && pane.image === viewer.pendingRuler.image) lightboxEndRuler(viewer, viewer.pendingRuler, event, pane);
    viewer.schedule();
  }, { signal });
  const stop = (event) => {
    if (!drag) return;
    if (drag.tool === 'ruler' && event.type === 'pointerup') viewer.pendingRuler = drag.moved < 4 && !drag.closing ? drag : null;
    drag.pane.node.classList.remove('is-moving');
    drag = null;
  };
  stage.addEventListener('pointerup', stop, { signal });
  stage.addEventListener('pointercancel', stop, { signal });
  stage.addEventListener('pointerleave', () => { viewer.cursor = null; viewer.schedule(); }, { signal });
  stage.addEventListener('dblclick', (event) => {
    const pane = viewer.panes.find((p) => p.node.contains(document.elementFromPoint(event.clientX, event.clientY))) || paneOf(event);
    if (!pane || !pane.shown) return;
    const point = lightboxLocate(viewer, pane, event.clientX, event.clientY), meta = viewer.images[pane.image];
    const row = Math.floor(point.row), column = Math.floor(point.column);
    if (row >= 0 && column >= 0 && row < meta.height && column < meta.width) viewer.onPick({ image: pane.image, row, column });
  }, { signal });
}

function lightboxDrag(viewer, drag, event) {
  const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
  drag.moved += Math.abs(dx) + Math.abs(dy);
  drag.x = event.clientX; drag.y = event.clientY;
  if (!viewer.panes.includes(drag.pane)) return;
  if (drag.tool === 'pan') lightboxMove(viewer, drag.pane, dx, dy);
  if (drag.tool === 'ruler') lightboxEndRuler(viewer, drag, event, drag.pane);
  const window = viewer.windows[drag.image];
  if (drag.tool === 'window' && window) {
    const step = viewer.range(drag.image) / 600;
    lightboxSetWindow(viewer, drag.image, { centre: window.centre + dy * step, width: window.width + dx * step });
  }
}

function lightboxStartRuler(viewer, drag, event) {
  if (viewer.pendingRuler && viewer.pendingRuler.image === drag.image) {
    drag.from = viewer.pendingRuler.from; drag.closing = true;
    viewer.pendingRuler = null;
    lightboxEndRuler(viewer, drag, event, drag.pane);
    return;
  }
  const point = lightboxLocate(viewer, drag.pane, event.clientX, event.clientY);
  drag.from = [point.column, point.row];
}

function lightboxEndRuler(viewer, drag, event, pane) {
  const point = lightboxLocate(viewer, pane, event.clientX, event.clientY), line = [...drag.from, point.column, point.row];
  viewer.rulers[drag.image] = line;
  viewer.say(`Length ${lightboxLength(viewer.images[drag.image], line)}`);
}

// True when a key press belongs to a field and not to the viewer.
function lightboxTyping(event) {
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return false;
  if (target.isContentEditable || target.closest('textarea, select')) return true;
  const input = target.closest('input');
  if (!input) return false;
  if (['checkbox', 'button', 'submit', 'reset'].includes(input.type)) return event.key === ' ';
  if (['range', 'radio'].includes(input.type)) return /^(Arrow|Page|Home|End| )/.test(event.key);
  return true;
}

function lightboxBindKeys(viewer) {
  const { signal, set } = viewer, act = viewer.act;
  const keys = {
    t: act.overlay, c: act.compare, a: act.all, i: act.invert, f: act.full, '?': act.help, '+': act.in, '-': act.out,
    '=': act.fit, w: () => lightboxTool(viewer, 'window'), r: () => lightboxTool(viewer, 'ruler'),
    h: () => { set.held = true; viewer.schedule(); },
  };
  const onDown = (event) => {
    if (!viewer.alive()) return;
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || lightboxTyping(event)) return;
    if (!viewer.root.getClientRects().length || !viewer.images.length) return;
    if (event.key === 'Escape' && !viewer.part.help.open) { viewer.rulers[set.active] = null; viewer.pendingRuler = null; viewer.schedule(); return; }
    if (!set.keys && event.key !== '?') return;
    const open = document.querySelector('dialog[open]');
    if (open && !(open === viewer.part.help && event.key === '?')) return;
    if (event.key.startsWith('Arrow')) { lightboxArrow(viewer, event); return; }
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!keys[name] || (event.repeat && !'+-'.includes(name))) return;
    event.preventDefault();
    keys[name]();
  };
  const release = () => { if (viewer.alive() && set.held) { set.held = false; viewer.schedule(); } };
  document.addEventListener('keydown', onDown, { signal });
  document.addEventListener('keyup', (event) => { if (event.key.toLowerCase() === 'h') release(); }, { signal });
  globalThis.addEventListener('blur', release, { signal });
  document.addEventListener('fullscreenchange', () => viewer.alive() && viewer.schedule(), { signal });
}

// Arrows step through frames, or move the image; they act only while the image area has the focus.
function lightboxArrow(viewer, event) {
  const stage = viewer.part.stage, meta = viewer.images[viewer.set.active];
  if (!stage.contains(document.activeElement)) return;
  event.preventDefault();
  const back = event.key === 'ArrowLeft' || event.key === 'ArrowUp', sideways = event.key === 'ArrowLeft' || event.key === 'ArrowRight';
  if (meta.frames > 1 && !event.shiftKey) { lightboxToFrame(viewer, viewer.frames[viewer.set.active] + (back ? -1 : 1)); return; }
  const pane = viewer.panes.find((p) => p.image === viewer.set.active), step = back ? 40 : -40;
  if (pane) lightboxMove(viewer, pane, sideways ? step : 0, sideways ? 0 : step);
}
