// Pane: one image on the screen, a canvas for the anatomy and one for the heat, placed by a CSS transform.

function lightboxNode(tag, className, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (parent) parent.appendChild(node);
  return node;
}

// Builds the nodes of a pane for one image; `bare` panes never show the overlay.
function lightboxPane(viewer, image, bare) {
  const node = lightboxNode('figure', 'lbv-pane', viewer.part.stage);
  const pane = { image, bare, node, shown: null, baseKey: '', heatKey: '', viewKey: '', markKey: '', width: 0, height: 0 };
  pane.scene = lightboxNode('div', 'lbv-scene', node);
  pane.scene.setAttribute('role', 'img');
  pane.base = lightboxNode('canvas', 'lbv-base', pane.scene);
  pane.heat = lightboxNode('canvas', 'lbv-heat', pane.scene);
  pane.scene.hidden = true;
  pane.svg = lightboxSvg('svg', { 'aria-hidden': 'true', preserveAspectRatio: 'none' }, node);
  pane.svg.style.display = 'none';
  pane.caption = lightboxNode('div', 'lbv-text lbv-caption', node);
  pane.side = lightboxNode('div', 'lbv-text lbv-side-mark', node);
  pane.corner = lightboxNode('div', 'lbv-text lbv-corner', node);
  pane.ruler = lightboxNode('div', 'lbv-text lbv-ruler', node);
  pane.rulerText = lightboxNode('span', '', pane.ruler);
  pane.rulerBar = lightboxNode('i', '', pane.ruler);
  pane.chip = lightboxNode('p', 'lbv-chip', node);
  pane.message = lightboxNode('p', 'lbv-message', node);
  return pane;
}

// Relative lengths of a pixel's sides: pixels that are not square keep their true shape.
function lightboxAspect(meta) {
  const spacing = meta.spacing;
  if (!spacing || !(spacing.row_mm > 0) || !(spacing.column_mm > 0)) return [1, 1];
  const ratio = spacing.row_mm / spacing.column_mm;
  return ratio >= 1 ? [1, ratio] : [1 / ratio, 1];
}

// Where image pixel (0, 0) lies in the pane, and screen pixels per image pixel.
function lightboxPlace(viewer, pane) {
  const meta = viewer.images[pane.image], view = viewer.views[pane.image], aspect = lightboxAspect(meta);
  if (view.fit) {
    view.column = meta.width / 2; view.row = meta.height / 2;
  }
  const fitted = Math.min(pane.width / (meta.width * aspect[0]), pane.height / (meta.height * aspect[1])) || 1;
  const scale = view.fit ? fitted : view.scale;
  const sx = scale * aspect[0], sy = scale * aspect[1], dots = window.devicePixelRatio || 1;
  return {
    scale, sx, sy, fitted,
    x: Math.round((pane.width / 2 - view.column * sx) * dots) / dots,
    y: Math.round((pane.height / 2 - view.row * sy) * dots) / dots,
  };
}

// Image coordinates (fractional source pixels) of a point on the screen.
function lightboxLocate(viewer, pane, clientX, clientY) {
  const rect = pane.node.getBoundingClientRect(), place = lightboxPlace(viewer, pane);
  return { column: (clientX - rect.left - place.x) / place.sx, row: (clientY - rect.top - place.y) / place.sy };
}

// Draws the anatomy when its pixels, window or sense have changed.
function lightboxPaintBase(viewer, pane, entry) {
  const meta = viewer.images[pane.image], window = viewer.windows[pane.image];
  const inverted = Boolean(meta.inverted) !== Boolean(viewer.inverts[pane.image]);
  const tone = meta.colour ? `${inverted}` : `${window.centre}|${window.width}|${window.function}|${inverted}`;
  const key = `${pane.shown.url}|${tone}`;
  if (pane.baseKey === key) return;
  if (entry.tone !== tone) {
    lightboxTone(meta, entry, window, inverted);
    entry.tone = tone;
  }
  if (pane.base.width !== meta.width || pane.base.height !== meta.height) {
    pane.base.width = meta.width; pane.base.height = meta.height;
  }
  pane.base.getContext('2d').putImageData(entry.picture, 0, 0);
  pane.baseKey = key;
}

// Fills the picture of an entry from its codes.
function lightboxTone(meta, entry, window, inverted) {
  entry.picture = entry.picture || new ImageData(meta.width, meta.height);
  const out = new Uint32Array(entry.picture.data.buffer), n = out.length;
  if (meta.colour) {
    const bytes = entry.bytes, flip = inverted ? 0x00ffffff : 0;
    for (let i = 0, at = 0; i < n; i++, at += 3) {
      out[i] = (0xff000000 | (bytes[at + 2] << 16) | (bytes[at + 1] << 8) | bytes[at]) ^ flip;
    }
    return;
  }
  entry.table = lightboxGreyTable(meta, window, inverted, entry.low, entry.high, entry.table || new Uint32Array(65536));
  const codes = entry.codes, table = entry.table;
  for (let i = 0; i < n; i++) out[i] = table[codes[i]];
}

// Draws all visible heat layers of the pane, each coloured once per threshold and colour map.
function lightboxPaintHeat(viewer, pane, layers) {
  const set = viewer.set, tone = `${set.map}|${set.threshold}|${set.constant}`;
  const key = layers.map((layer) => layer.url).join(' ') + `|${tone}|${set.opacity}`;
  if (pane.heatKey === key) return;
  pane.heatKey = key;
  const meta = viewer.images[pane.image], canvas = pane.heat;
  const width = Math.max(1, ...layers.map((layer) => layer.width));
  const height = Math.max(1, ...layers.map((layer) => layer.height));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  context.globalAlpha = set.opacity / 100;
  if (!layers.length || !set.opacity || !meta) return;
  for (const layer of layers) {
    const entry = viewer.store.entries.get(layer.url);
    lightboxColourLayer(viewer, layer, entry, tone);
    const [x, y, across, down] = entry.reach, isWhole = layer.width !== width || layer.height !== height;
    if (isWhole) context.drawImage(entry.canvas, 0, 0, width, height);
    else if (across && down) context.drawImage(entry.canvas, x, y, across, down, x, y, across, down);
  }
}

// Recolours one layer, where it is not clear, when the threshold, the colour map or the opacity rule has changed.
function lightboxColourLayer(viewer, layer, entry, tone) {
  if (entry.tone === tone) return;
  if (viewer.heatTone !== tone) {
    viewer.heatTable = lightboxHeatTable(viewer.set.map, viewer.set.threshold / 100, viewer.set.constant);
    viewer.heatTone = tone;
    viewer.heatLeast = 0;
    while (viewer.heatLeast < 65536 && !viewer.heatTable[viewer.heatLeast]) viewer.heatLeast++;
  }
  if (!entry.canvas) {
    entry.canvas = document.createElement('canvas');
    entry.canvas.width = layer.width; entry.canvas.height = layer.height;
    entry.picture = new ImageData(layer.width, layer.height);
  }
  const out = new Uint32Array(entry.picture.data.buffer), codes = entry.codes, table = viewer.heatTable;
  const reach = lightboxReach(lightboxField(entry, layer, 1), viewer.heatLeast);
  const [x, y, across, down] = reach, context = entry.canvas.getContext('2d');
  for (let row = y; row < y + down; row++) {
    for (let i = row * layer.width + x, end = i + across; i < end; i++) out[i] = table[codes[i]];
  }
  context.clearRect(0, 0, layer.width, layer.height);
  context.putImageData(entry.picture, 0, 0, ...reach);
  Object.assign(entry, { tone, reach });
}

// The box [x, y, width, height] outside which no code of a map reaches `least`, in whole tiles.
function lightboxReach(field, least) {
  const { tiles, width, height } = field;
  let left = tiles.across, right = -1, top = tiles.down, bottom = -1;
  for (let ty = 0, tile = 0; ty < tiles.down; ty++) {
    for (let tx = 0; tx < tiles.across; tx++, tile++) {
      if (tiles.high[tile] < least) continue;
      left = Math.min(left, tx); right = Math.max(right, tx);
      top = Math.min(top, ty); bottom = Math.max(bottom, ty);
    }
  }
  if (right < 0) return [0, 0, 0, 0];
  const x = Math.max(0, left * LIGHTBOX_TILE - 1), y = Math.max(0, top * LIGHTBOX_TILE - 1);
  return [x, y, Math.min(width, (right + 1) * LIGHTBOX_TILE) - x, Math.min(height, (bottom + 1) * LIGHTBOX_TILE) - y];
}

// Places the scene; returns whether zoom or position changed.
function lightboxPaintView(viewer, pane) {
  const meta = viewer.images[pane.image], place = lightboxPlace(viewer, pane);
  const key = [place.x, place.y, place.sx, place.sy, pane.width, pane.height].join();
  if (pane.viewKey === key) return false;
  pane.viewKey = key;
  const style = pane.scene.style;
  style.width = `${meta.width}px`; style.height = `${meta.height}px`;
  style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.sx}, ${place.sy})`;
  pane.scene.classList.toggle('is-near', Math.min(place.sx, place.sy) * (window.devicePixelRatio || 1) >= 1.999);
  pane.svg.setAttribute('viewBox', [-place.x / place.sx, -place.y / place.sy, pane.width / place.sx, pane.height / place.sy].join(' '));
  return true;
}
