// Marks: contours, boxes, patches, ruler and words over a pane. Words enter through textContent only.

function lightboxSvg(tag, attributes, parent) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  if (parent) parent.appendChild(node);
  return node;
}

// A shape with a dark line under a coloured one, so that it shows on any grey.
function lightboxOutlined(parent, tag, attributes, className, dash) {
  lightboxSvg(tag, { ...attributes, class: 'under' }, parent);
  const node = lightboxSvg(tag, { ...attributes, class: className }, parent);
  if (dash) node.setAttribute('stroke-dasharray', dash);
  return node;
}

// A label at image coordinates; its size on the screen stays the same (see lightboxPlaceWords).
function lightboxWord(pane, parent, text, x, y, dx, dy, className) {
  const node = lightboxSvg('text', { class: className }, parent);
  node.textContent = text;
  pane.words.push({ node, x, y, dx, dy });
}

function lightboxPlaceWords(viewer, pane) {
  const place = lightboxPlace(viewer, pane);
  for (const word of pane.words || []) {
    let dy = word.dy;
    if (place.y + word.y * place.sy + dy < 14) dy = 16;
    word.node.setAttribute('transform', `translate(${word.x} ${word.y}) scale(${1 / place.sx} ${1 / place.sy}) translate(${word.dx} ${dy})`);
  }
}

const LIGHTBOX_COARSE = 256;       // samples on the longer side of a map while its threshold is dragged
const LIGHTBOX_SETTLE_MS = 120;    // after the last change the contour is exact again

// Lets contours be coarse until the threshold has rested; the colours are exact all along.
function lightboxDragThreshold(viewer) {
  clearTimeout(viewer.settling);
  viewer.settling = setTimeout(() => { viewer.settling = 0; viewer.schedule(); }, LIGHTBOX_SETTLE_MS);
}

// What a contour is drawn from: the map itself, or every n-th of its pixels, kept with the layer.
function lightboxField(entry, layer, step) {
  const key = `field${step}`;
  if (entry[key]) return entry[key];
  const width = Math.floor(layer.width / step), height = Math.floor(layer.height / step);
  let codes = entry.codes;
  if (step > 1) {
    codes = new Uint16Array(width * height);
    const first = (step >> 1) * layer.width + (step >> 1);
    for (let y = 0, at = 0; y < height; y++) for (let x = 0; x < width; x++, at++) codes[at] = entry.codes[first + step * (y * layer.width + x)];
  }
  entry[key] = { codes, width, height, tiles: lightboxTiles(codes, width, height) };
  return entry[key];
}

// Path of one layer's contour at the present threshold, kept with the layer.
function lightboxLayerPath(viewer, layer, meta) {
  const entry = viewer.store.entries.get(layer.url), level = Math.max(1, Math.ceil(viewer.set.threshold / 100 * 65535));
  const step = viewer.settling ? Math.max(1, Math.ceil(Math.max(layer.width, layer.height) / LIGHTBOX_COARSE)) : 1;
  const key = `${level}/${step}`;
  if (entry.level !== key) {
    const field = lightboxField(entry, layer, step);
    const rings = lightboxContours(field.codes, field.width, field.height, level, field.tiles);
    if (!rings && step === 1) viewer.say(`${layer.label}: the outline at this threshold is too ragged to draw.`);
    entry.path = lightboxPath(rings || [], step * meta.width / layer.width, step * meta.height / layer.height);
    entry.level = key;
  }
  return entry.path;
}

function lightboxRings(contours) {
  return (contours || []).map((ring) => ring.map((point, i) => `${i ? 'L' : 'M'}${Number(point[0])} ${Number(point[1])}`).join('') + 'Z').join('');
}

function lightboxDrawRegion(pane, parent, region) {
  const kind = region.kind === 'truth' ? 'truth' : 'model';
  let corner = null;
  if (region.contours && region.contours.length) {
    lightboxOutlined(parent, 'path', { d: lightboxRings(region.contours) }, kind);
    corner = region.contours[0][0];
  }
  if (region.box) {
    const [x, y, width, height] = region.box.map(Number);
    lightboxOutlined(parent, 'rect', { x, y, width, height }, kind);
    corner = [x, y];
  }
  if (corner && region.label) lightboxWord(pane, parent, region.label, Number(corner[0]), Number(corner[1]), 2, -6, kind);
}

function lightboxDrawPatch(pane, parent, patch) {
  const [x, y, width, height] = patch.box.map(Number);
  lightboxOutlined(parent, 'rect', { x, y, width, height }, 'patch');
  const share = Number.isFinite(patch.weight) ? ` (${Math.round(patch.weight * 100)} %)` : '';
  lightboxWord(pane, parent, `${patch.label}${share}`, x, y, 4, 16, 'patch');
}

// Redraws the marks of a pane when what they show has changed.
function lightboxPaintMarks(viewer, pane, layers, moved) {
  const set = viewer.set, meta = viewer.images[pane.image], ruler = viewer.rulers[pane.image];
  const contours = pane.bare || !set.threshold ? [] : layers;
  const key = JSON.stringify([viewer.generation, pane.shown, set.regions, set.patches, set.threshold, contours.map((l) => l.url), Boolean(contours.length && viewer.settling), ruler]);
  if (pane.markKey !== key) {
    pane.markKey = key;
    pane.words = [];
    pane.svg.replaceChildren();
    const marks = lightboxSvg('g', { class: 'marks' }, pane.svg), value = viewer.value;
    contours.forEach((layer, i) => {
      const path = lightboxLayerPath(viewer, layer, meta);
      lightboxOutlined(marks, 'path', { d: path }, 'level', ['', '7 4', '2 3', '9 3 2 3'][i % 4]);
    });
    const here = (mark) => mark.image === pane.image && (meta.frames <= 1 || (mark.frame || 0) === pane.shown.frame);
    if (set.regions && !pane.bare) (value.regions || []).filter(here).forEach((region) => lightboxDrawRegion(pane, marks, region));
    if (set.patches && !pane.bare) (value.patches || []).filter((p) => p.image === pane.image).forEach((patch) => lightboxDrawPatch(pane, marks, patch));
    pane.cell = lightboxSvg('rect', { class: 'cell' }, marks);
    pane.cell.style.display = 'none';
    if (ruler) lightboxDrawRuler(pane, meta, ruler);
    lightboxPlaceWords(viewer, pane);
  } else if (moved) {
    lightboxPlaceWords(viewer, pane);
  }
}

// Length of a line on the image in words: millimetres where calibrated, pixels otherwise.
function lightboxLength(meta, line) {
  const dx = line[2] - line[0], dy = line[3] - line[1], spacing = meta.spacing;
  if (!spacing) return `${lightboxNumber(Math.hypot(dx, dy))} px (no calibration)`;
  const mm = Math.hypot(dx * spacing.column_mm, dy * spacing.row_mm);
  return `${mm.toFixed(mm < 10 ? 2 : 1)} mm (${spacing.source || 'spacing stated by the file'})`;
}

function lightboxDrawRuler(pane, meta, line) {
  lightboxOutlined(pane.svg, 'line', { x1: line[0], y1: line[1], x2: line[2], y2: line[3] }, 'ruler');
  lightboxWord(pane, pane.svg, lightboxLength(meta, line), line[2], line[3], 8, -6, 'ruler');
}

// Square of one native cell of the map around the cursor.
function lightboxPaintCell(viewer, pane, layers, point) {
  if (!pane.cell) return;
  const layer = layers[layers.length - 1], meta = viewer.images[pane.image];
  const wanted = viewer.set.cell && layer && point && !pane.bare && layer.grid;
  pane.cell.style.display = wanted ? '' : 'none';
  if (!wanted) return;
  const mm = layer.cell_mm, spacing = meta.spacing;
  const height = mm && spacing ? mm[0] / spacing.row_mm : meta.height / layer.grid[0];
  const width = mm && spacing ? mm[1] / spacing.column_mm : meta.width / layer.grid[1];
  const box = { x: point.column - width / 2, y: point.row - height / 2, width, height };
  for (const name in box) pane.cell.setAttribute(name, box[name]);
}

// Scale bar of a round length, at most 120 screen pixels long.
function lightboxPaintScaleBar(viewer, pane) {
  const meta = viewer.images[pane.image], place = lightboxPlace(viewer, pane);
  const unit = meta.spacing ? meta.spacing.column_mm : 1, name = meta.spacing ? 'mm' : 'px (no calibration)';
  const most = 120 / place.sx * unit, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((step) => step * power).find((step) => step <= most);
  pane.rulerBar.style.width = `${length / unit * place.sx}px`;
  pane.rulerText.textContent = `${lightboxNumber(length)} ${name}`;
  pane.ruler.title = meta.spacing ? meta.spacing.source || '' : '';
}
