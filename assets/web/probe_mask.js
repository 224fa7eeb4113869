// A region in source pixels: painted, boxed, taken whole, undone; it travels as lengths of runs.

const PROBE_UNDO = 60;

// Width and height in pixels; pitch is [row, column] in mm, or [1, 1] where it is unknown.
class ProbeMask {
  constructor(width, height, pitch) {
    this.width = width;
    this.height = height;
    this.pitch = pitch;
    this.cells = new Uint8Array(width * height);
    this.count = 0;
    this.past = [];
    this.stamp = 0;
  }

  // Remember the region as it is, before it is changed by one deed of the reader.
  remember() {
    this.past.push(this.runs());
    if (this.past.length > PROBE_UNDO) this.past.shift();
  }

  undo() {
    const runs = this.past.pop();
    if (runs) this.set(runs);
    return Boolean(runs);
  }

  // Lengths of runs, row by row, the first one unmarked.
  runs() {
    const lengths = [], cells = this.cells;
    let value = 0, start = 0;
    for (let at = 0; at < cells.length; at++) {
      if (cells[at] === value) continue;
      lengths.push(at - start);
      start = at;
      value = cells[at];
    }
    lengths.push(cells.length - start);
    return lengths;
  }

  set(runs) {
    this.cells.fill(0);
    this.add(runs);
  }

  add(runs) {
    let at = 0;
    runs.forEach((length, n) => {
      if (n % 2) this.cells.fill(1, at, at + length);
      at += length;
    });
    this.recount();
  }

  clear() {
    this.cells.fill(0);
    this.recount();
  }

  // All pixels within `radius` (in the unit of the pitch) of a stretch between two points.
  stroke(x0, y0, x1, y1, radius, value) {
    const [row, column] = this.pitch, rx = radius / column, ry = radius / row;
    const top = Math.max(0, Math.floor(Math.min(y0, y1) - ry)), bottom = Math.min(this.height - 1, Math.ceil(Math.max(y0, y1) + ry));
    const left = Math.max(0, Math.floor(Math.min(x0, x1) - rx)), right = Math.min(this.width - 1, Math.ceil(Math.max(x0, x1) + rx));
    const dx = (x1 - x0) * column, dy = (y1 - y0) * row, length = dx * dx + dy * dy, reach = radius * radius;
    let change = 0;
    for (let y = top; y <= bottom; y++) {
      const py = (y + 0.5 - y0) * row;
      for (let x = left; x <= right; x++) {
        const px = (x + 0.5 - x0) * column, along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const ex = px - along * dx, ey = py - along * dy, at = y * this.width + x;
        if (ex * ex + ey * ey > reach || this.cells[at] === value) continue;
        this.cells[at] = value;
        change += value ? 1 : -1;
      }
    }
    change += this.dot(Math.floor(x1), Math.floor(y1), value);
    this.count += change;
    this.stamp += 1;
  }

  // The pixel under the pointer belongs to the stroke however thin it is.
  dot(x, y, value) {
    const at = y * this.width + x;
    if (x < 0 || y < 0 || x >= this.width || y >= this.height || this.cells[at] === value) return 0;
    this.cells[at] = value;
    return value ? 1 : -1;
  }

  has(x, y) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height && this.cells[y * this.width + x] === 1;
  }

  get share() {
    return this.count / this.cells.length;
  }

  recount() {
    let count = 0;
    for (let at = 0; at < this.cells.length; at++) count += this.cells[at];
    this.count = count;
    this.stamp += 1;
  }
}

// Whether a pixel, counted row by row, is marked in a list of runs.
function probeInside(runs, at) {
  let end = 0;
  for (let n = 0; n < runs.length; n++) {
    end += runs[n];
    if (at < end) return n % 2 === 1;
  }
  return false;
}
