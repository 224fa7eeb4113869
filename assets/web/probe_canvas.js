// The image with the marked region on it, the pointer, and what mouse, pen and keys do there.

const PROBE_SIDE = 900;         // pixels of the canvas along the longer side of the image
const PROBE_LINE = 2, PROBE_FILL = [40, 200, 184, 84], PROBE_EDGE = [20, 226, 206, 255];

// deed(tool, from, to): a step of a tool between two points in source pixels.
function probeCanvas(canvas, state, deeds, signal) {
  const pen = canvas.getContext('2d'), veil = document.createElement('canvas');
  const view = { picture: null, from: null, at: null, box: null, stamp: -1, mask: null, frame: 0 };

  const point = (event) => {
    const place = canvas.getBoundingClientRect(), image = state.image();
    return { x: (event.clientX - place.left) / place.width * image.width, y: (event.clientY - place.top) / place.height * image.height };
  };
  const begin = (at) => {
    if (!state.ready()) return;
    view.at = at;
    const tool = state.tool();
    if (tool === 'box') view.from = at;
    else if (tool === 'click') deeds.click(at);
    else { state.mask().remember(); view.from = at; deeds.stroke(at, at); }
    redraw();
  };
  const move = (at) => {
    const before = view.at || at;
    view.at = at;
    if (view.from && state.tool() !== 'box') deeds.stroke(before, at);
    redraw();
  };
  const end = (at) => {
    const from = view.from;
    view.from = null;
    if (from && state.tool() === 'box') deeds.box(from, at);
    redraw();
  };

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    begin(point(event));
    event.preventDefault();
  }, { signal });
  canvas.addEventListener('pointermove', (event) => move(point(event)), { signal });
  canvas.addEventListener('pointerup', (event) => end(point(event)), { signal });
  canvas.addEventListener('pointercancel', () => { view.from = null; redraw(); }, { signal });
  canvas.addEventListener('pointerleave', () => { if (!view.from) { view.at = null; redraw(); } }, { signal });
  canvas.addEventListener('keydown', (event) => { if (probeKey(event, view, state, deeds, { begin, move, end })) { event.preventDefault(); event.stopPropagation(); redraw(); } }, { signal });
  canvas.addEventListener('blur', () => { view.from = null; redraw(); }, { signal });

  // Draw once before the next frame of the screen, however many changes there are.
  function redraw() {
    if (!view.frame) view.frame = requestAnimationFrame(() => { view.frame = 0; draw(); });
  }

  function draw() {
    const image = state.image(), mask = state.mask();
    if (!image) return;
    const scale = PROBE_SIDE / Math.max(...image.shown), width = Math.round(image.shown[0] * scale), height = Math.round(image.shown[1] * scale);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = veil.width = width; canvas.height = veil.height = height; view.stamp = -1; }
    if (veil.width !== width || veil.height !== height) { veil.width = width; veil.height = height; view.stamp = -1; }
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingEnabled = scale < 1;
    if (view.picture && view.picture.complete && view.picture.naturalWidth) pen.drawImage(view.picture, 0, 0, width, height);
    if (mask && (view.mask !== mask || view.stamp !== mask.stamp)) {
      probeVeil(veil, mask);
      view.mask = mask;
      view.stamp = mask.stamp;
    }
    if (mask) pen.drawImage(veil, 0, 0);
    probePointer(pen, view, state, width / image.width, height / image.height);
  }

  return {
    redraw,
    show(address) {
      view.picture = new Image();
      view.picture.addEventListener('load', redraw);
      view.picture.addEventListener('error', () => deeds.lost());
      view.from = view.at = null;
      view.picture.src = address;
      redraw();
    },
  };
}

// Keys on the image; true where one was used.
function probeKey(event, view, state, deeds, act) {
  if (event.altKey) return false;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z') { deeds.undo(); return true; }
  if (event.ctrlKey || event.metaKey) return false;
  const tools = { b: 'brush', e: 'eraser', c: 'click', x: 'box' }, steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const image = state.image(), at = view.at || { x: image.width / 2, y: image.height / 2 };
  if (tools[event.key.toLowerCase()]) { view.from = null; deeds.tool(tools[event.key.toLowerCase()]); return true; }
  if (steps[event.key]) {
    const reach = Math.max(image.width, image.height) * (event.shiftKey ? 0.05 : 0.01), [dx, dy] = steps[event.key];
    const next = { x: Math.min(image.width - 0.5, Math.max(0.5, at.x + dx * reach)), y: Math.min(image.height - 0.5, Math.max(0.5, at.y + dy * reach)) };
    view.at = next;
    return true;
  }
  if (event.key === '[' || event.key === ']') { deeds.radius(event.key === ']' ? 4 : -4); return true; }
  if (event.key === 'Escape' && view.from) { view.from = null; return true; }
  if (event.key !== ' ' && event.key !== 'Enter') return false;
  if (state.tool() === 'box' && view.from) act.end(at);
  else { act.begin(at); if (state.tool() !== 'box') act.end(at); }
  return true;
}

// The region as a tint with a bright edge, one sample per pixel of the canvas.
function probeVeil(veil, mask) {
  const pen = veil.getContext('2d'), { width, height } = veil, picture = pen.createImageData(width, height), data = picture.data;
  const columns = new Int32Array(width);
  for (let x = 0; x < width; x++) columns[x] = Math.min(mask.width - 1, Math.floor((x + 0.5) * mask.width / width));
  const row = (y) => Math.min(mask.height - 1, Math.floor((y + 0.5) * mask.height / height)) * mask.width;
  const marked = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask.cells[row(y) + columns[x]];
  for (let y = 0; y < height && mask.count; y++) {
    const here = row(y);
    for (let x = 0; x < width; x++) {
      if (!mask.cells[here + columns[x]]) continue;
      const inner = marked(x - PROBE_LINE, y) && marked(x + PROBE_LINE, y) && marked(x, y - PROBE_LINE) && marked(x, y + PROBE_LINE);
      data.set(inner ? PROBE_FILL : PROBE_EDGE, 4 * (y * width + x));
    }
  }
  pen.putImageData(picture, 0, 0);
}

// The circle of the brush, the box being drawn, or a cross.
function probePointer(pen, view, state, sx, sy) {
  const at = view.at;
  if (!at || !state.ready()) return;
  const shape = new Path2D(), tool = state.tool(), mask = state.mask();
  if (tool === 'box') {
    if (view.from) shape.rect(Math.min(view.from.x, at.x) * sx, Math.min(view.from.y, at.y) * sy, Math.abs(at.x - view.from.x) * sx, Math.abs(at.y - view.from.y) * sy);
    for (const [dx, dy] of [[14, 0], [0, 14]]) { shape.moveTo(at.x * sx - dx, at.y * sy - dy); shape.lineTo(at.x * sx + dx, at.y * sy + dy); }
  } else {
    const radius = state.radius();
    shape.ellipse(at.x * sx, at.y * sy, Math.max(2, radius / mask.pitch[1] * sx), Math.max(2, radius / mask.pitch[0] * sy), 0, 0, 2 * Math.PI);
  }
  pen.lineWidth = 4;
  pen.strokeStyle = 'rgb(0 0 0 / 70%)';
  pen.stroke(shape);
  pen.lineWidth = 1.6;
  pen.strokeStyle = tool === 'eraser' ? '#ffb4a8' : '#ffffff';
  pen.stroke(shape);
}
