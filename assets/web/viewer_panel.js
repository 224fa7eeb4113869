// Panel: everything around the image area that shows the state: tabs, layer list, colour scale, words.

function lightboxLabelled(parent, text, checked, onChange, signal) {
  const label = lightboxNode('label', 'lbv-check', parent), box = lightboxNode('input', '', label);
  box.type = 'checkbox';
  box.checked = checked;
  lightboxNode('span', '', label).textContent = text;
  box.addEventListener('change', () => onChange(box.checked), { signal });
  return label;
}

// Rebuilds what depends on the case, not on the sliders.
function lightboxShowCase(viewer) {
  const value = viewer.value || {};
  viewer.part.banner.textContent = value.banner || '';
  viewer.part.tabs.replaceChildren();
  viewer.images.forEach((image, i) => {
    const button = lightboxNode('button', '', viewer.part.tabs);
    button.type = 'button';
    button.textContent = image.name || `Image ${i + 1}`;
    button.addEventListener('click', () => lightboxActivate(viewer, i), { signal: viewer.signal });
  });
  lightboxShowActive(viewer);
}

// Rebuilds what depends on the image chosen.
function lightboxShowActive(viewer) {
  const { part, set, images } = viewer, meta = images[set.active];
  [...part.tabs.children].forEach((tab, i) => tab.setAttribute('aria-pressed', String(i === set.active)));
  part.windowing.disabled = !meta || Boolean(meta.colour);
  part.framing.disabled = !meta || !(meta.frames > 1);
  lightboxShowLayers(viewer, meta);
  part.notes.replaceChildren();
  for (const text of (meta && meta.warnings) || []) lightboxNode('p', '', part.notes).textContent = `Note: ${text}`;
  lightboxShowWindow(viewer);
  lightboxShowFrame(viewer);
  const many = images.length > 1;
  viewer.button.all.disabled = !many;
}

function lightboxShowLayers(viewer, meta) {
  const list = viewer.part.layers;
  list.replaceChildren();
  const mine = viewer.layers.filter((layer) => layer.image === viewer.set.active);
  for (const layer of mine) {
    const title = layer.target ? `${layer.label} (${layer.target})` : layer.label;
    lightboxLabelled(list, title, viewer.visible.get(layer.id), (on) => {
      viewer.visible.set(layer.id, on);
      viewer.schedule();
    }, viewer.signal);
    lightboxNode('small', '', list).textContent = lightboxLayerNote(layer, meta);
  }
  if (!mine.length) list.textContent = 'No map for this image.';
}

// Grid and cell size of a layer, or why it is not drawn.
function lightboxLayerNote(layer, meta) {
  if (!lightboxDrawable(layer)) return `No localised evidence. ${lightboxWhy(layer)}`;
  const parts = [];
  if (meta.frames > 1) parts.push(`frame ${(layer.frame || 0) + 1}`);
  if (layer.grid) parts.push(`from ${layer.grid[0]} × ${layer.grid[1]} cells`);
  if (layer.cell_mm) parts.push(`of ${lightboxNumber(layer.cell_mm[0])} × ${lightboxNumber(layer.cell_mm[1])} mm`);
  return parts.join(' ');
}

// A layer is drawn only when it says where: localised, and with a usable range.
function lightboxDrawable(layer) {
  return layer.localised !== false && Number.isFinite(layer.min) && Number.isFinite(layer.max) && layer.max > layer.min;
}

function lightboxWhy(layer) {
  if (layer.reason) return layer.reason;
  return Number.isFinite(layer.min) && Number.isFinite(layer.max) ? 'The map is flat.' : 'The map holds no usable values.';
}

function lightboxShowWindow(viewer) {
  const meta = viewer.images[viewer.set.active], window = viewer.windows[viewer.set.active];
  if (!meta || meta.colour || !window) return;
  const { preset, centre, width } = viewer.field, names = (meta.windows || []).map((w, i) => w.label || `Window ${i + 1}`);
  const options = [...names, 'Full range', 'Custom'], key = options.join('\u0000');
  if (preset.dataset.key !== key) {
    preset.dataset.key = key;
    preset.replaceChildren();
    options.forEach((name, i) => { const option = lightboxNode('option', '', preset); option.value = String(i); option.textContent = name; });
  }
  preset.value = String(window.preset === 'full' ? names.length : window.preset === 'custom' ? names.length + 1 : window.preset);
  if (document.activeElement !== centre) centre.value = String(Number(window.centre.toPrecision(6)));
  if (document.activeElement !== width) width.value = String(Number(window.width.toPrecision(6)));
}

function lightboxShowFrame(viewer) {
  const meta = viewer.images[viewer.set.active];
  if (!meta) return;
  const frame = viewer.frames[viewer.set.active] + 1;
  viewer.field.frame.max = String(meta.frames);
  viewer.field.frame.value = String(frame);
  viewer.part.frame.textContent = `${frame} of ${meta.frames}`;
}

// Side and view, such as "L CC".
function lightboxSideText(meta) {
  return [meta.laterality, meta.view].filter(Boolean).join(' ');
}

// Words over a pane: caption, side marker, window and zoom, missing evidence, loading and errors.
function lightboxPaintWords(viewer, pane, wanted, entry) {
  const meta = viewer.images[pane.image], window = viewer.windows[pane.image], side = lightboxSideText(meta);
  const frame = pane.shown && meta.frames > 1 ? `, frame ${pane.shown.frame + 1} of ${meta.frames}` : '';
  const overlay = viewer.set.mode === 'compare' ? (pane.bare ? ', without overlay' : ', with overlay') : '';
  lightboxText(pane.caption, `${meta.name || ''}${frame}${overlay}`);
  lightboxText(pane.side, side);
  pane.side.classList.toggle('at-left', meta.laterality === 'R');
  const place = lightboxPlace(viewer, pane), inverted = viewer.inverts[pane.image] ? ', inverted' : '';
  const level = meta.colour || !window ? '' : `C ${lightboxNumber(window.centre)}  W ${lightboxNumber(window.width)}${inverted}   `;
  const zoom = place.scale * (globalThis.devicePixelRatio || 1) * 100;
  lightboxText(pane.corner, pane.shown ? `${level}${zoom < 10 ? zoom.toFixed(1) : Math.round(zoom)} %` : '');
  const flat = pane.bare || !viewer.set.overlay ? [] : lightboxLayersOf(viewer, pane).filter((layer) => !lightboxDrawable(layer));
  lightboxText(pane.chip, flat.map((layer) => `${layer.label}: No localised evidence. ${lightboxWhy(layer)}`).join('  '));
  lightboxText(pane.message, lightboxPaneMessage(pane, wanted, entry));
  pane.message.classList.toggle('is-small', Boolean(pane.shown));
  const shape = `${meta.width} by ${meta.height} pixels`;
  const maps = pane.bare ? [] : lightboxLayersOf(viewer, pane).map((layer) => layer.label);
  pane.scene.setAttribute('aria-label', `${meta.name || 'Image'} ${side}, ${shape}${frame}${overlay}${maps.length ? `; maps: ${maps.join(', ')}` : ''}`);
}

function lightboxPaneMessage(pane, wanted, entry) {
  if (entry.state === 'ready') return '';
  const name = pane.shown ? `Frame ${wanted.frame + 1}` : 'The image';
  if (entry.state === 'loading') return pane.shown ? `Loading frame ${wanted.frame + 1} …` : 'Loading image …';
  const still = pane.shown ? ` Still showing frame ${pane.shown.frame + 1}.` : '';
  return `${name} could not be loaded: ${entry.error}.${still}`;
}

function lightboxText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Colour scale of the topmost drawn layer, with its own numbers and the threshold tick.
function lightboxPaintScale(viewer, layer, several) {
  const { part, set } = viewer, threshold = set.threshold / 100;
  const key = [set.map, set.threshold, layer && layer.id, viewer.generation, several].join('|');
  if (viewer.scaleKey === key) return;
  viewer.scaleKey = key;
  part.scale.classList.toggle('is-idle', !layer);
  if (!layer) return;
  const canvas = part['scale-bar'], context = canvas.getContext('2d'), colours = lightboxColours(set.map);
  for (let y = 0; y < canvas.height; y++) {
    const at = 3 * Math.round(255 * (1 - y / (canvas.height - 1)));
    context.fillStyle = `rgb(${colours[at]}, ${colours[at + 1]}, ${colours[at + 2]})`;
    context.fillRect(0, y, canvas.width, 1);
  }
  part['scale-title'].textContent = layer.label;
  const note = several ? 'Relative to each map; the numbers are those of the map named.' : 'Relative to this map.';
  part['scale-note'].textContent = note;
  const at = (share) => layer.min + share * (layer.max - layer.min), svg = part['scale-ticks'];
  svg.replaceChildren();
  const tick = (share, text, className) => {
    const y = 8 + 160 * (1 - share);
    lightboxSvg('line', { x1: 0, x2: className ? 12 : 6, y1: y, y2: y }, svg);
    lightboxSvg('text', { x: className ? 15 : 9, y: y + 4, class: className }, svg).textContent = text;
  };
  if (threshold < 0.92) tick(1, lightboxNumber(layer.max), '');
  if (threshold > 0.08 || !threshold) tick(0, lightboxNumber(layer.min), '');
  if (Math.abs(threshold - 0.5) > 0.08) tick(0.5, lightboxNumber(at(0.5)), '');
  if (threshold) tick(threshold, `${lightboxNumber(at(threshold))} (${set.threshold} %)`, 'strong');
  part.scale.setAttribute('aria-label', `Colour scale of ${layer.label}: ${lightboxNumber(layer.min)} to ${lightboxNumber(layer.max)}, threshold ${lightboxNumber(at(threshold))}. ${note}`);
}

// Row, column and values under the cursor.
function lightboxReadout(viewer, pane, point) {
  const meta = viewer.images[pane.image], column = Math.floor(point.column), row = Math.floor(point.row);
  if (!pane.shown || column < 0 || row < 0 || column >= meta.width || row >= meta.height) return '';
  const entry = viewer.store.entries.get(pane.shown.url), at = row * meta.width + column, parts = [`row ${row}, column ${column}`];
  if (entry && entry.bytes) parts.push(`RGB ${entry.bytes[3 * at]}, ${entry.bytes[3 * at + 1]}, ${entry.bytes[3 * at + 2]}`);
  if (entry && entry.codes) {
    const code = entry.codes[at], value = lightboxNumber(code * meta.slope + meta.intercept);
    const stored = meta.slope === 1 && meta.intercept === 0 ? '' : ` (stored ${code})`;
    parts.push(`value ${value}${meta.unit ? ` ${meta.unit}` : ''}${stored}`);
  }
  for (const layer of viewer.drawn(pane)) {
    const heat = viewer.store.entries.get(layer.url);
    const x = Math.floor((column + 0.5) * layer.width / meta.width), y = Math.floor((row + 0.5) * layer.height / meta.height);
    const share = heat.codes[y * layer.width + x] / 65535;
    parts.push(`${layer.label} ${lightboxNumber(layer.min + share * (layer.max - layer.min))} (${Math.round(share * 100)} %)`);
  }
  return parts.join('  ·  ');
}
