// Contours: closed level lines of a heat map, by marching squares, in map pixels.

// Which edge each cell code leads to, by entry edge; high values stay on the right of the walk.
// Corners: 1 top left, 2 top right, 4 bottom right, 8 bottom left. Edges: 0 top, 1 right, 2 bottom, 3 left.
const LIGHTBOX_WALK = {
  1: [[0, 3]], 2: [[1, 0]], 3: [[1, 3]], 4: [[2, 1]], 5: [[0, 3], [2, 1]], 6: [[2, 0]], 7: [[2, 3]],
  8: [[3, 2]], 9: [[0, 2]], 10: [[1, 0], [3, 2]], 11: [[1, 2]], 12: [[3, 1]], 13: [[0, 1]], 14: [[3, 0]],
};

const LIGHTBOX_TILE = 16;          // cells on a side of a tile
const LIGHTBOX_MOST = 60000;       // contour points beyond which a map is called ragged

// Lowest and highest code that each tile of cells touches; a tile the level does not cross is skipped.
function lightboxTiles(codes, width, height) {
  const across = Math.ceil((width + 1) / LIGHTBOX_TILE), down = Math.ceil((height + 1) / LIGHTBOX_TILE);
  const low = new Uint16Array(across * down), high = new Uint16Array(across * down);
  for (let ty = 0, tile = 0; ty < down; ty++) {
    for (let tx = 0; tx < across; tx++, tile++) {
      const left = tx * LIGHTBOX_TILE - 1, top = ty * LIGHTBOX_TILE - 1;
      const right = left + LIGHTBOX_TILE, bottom = top + LIGHTBOX_TILE;
      const border = left < 0 || top < 0 || right >= width || bottom >= height;
      let least = border ? 0 : 65535, most = 0;
      for (let y = Math.max(0, top); y <= Math.min(height - 1, bottom); y++) {
        for (let x = Math.max(0, left), i = y * width + x; x <= Math.min(width - 1, right); x++, i++) {
          if (codes[i] < least) least = codes[i];
          if (codes[i] > most) most = codes[i];
        }
      }
      low[tile] = least; high[tile] = most;
    }
  }
  return { across, down, low, high };
}

// Rings [x0, y0, x1, y1, ...] around the pixels whose code is at least `level`; null when too ragged.
function lightboxContours(codes, width, height, level, tiles) {
  const wide = width + 1, seen = new Uint8Array(wide * (height + 1)), rings = [];
  let points = 0;
  const above = (x, y) => (x >= 0 && y >= 0 && x < width && y < height && codes[y * width + x] >= level ? 1 : 0);
  const codeAt = (x, y) => above(x - 1, y - 1) | (above(x, y - 1) << 1) | (above(x, y) << 2) | (above(x - 1, y) << 3);
  const walk = (x, y, entry) => {
    const ring = [];
    for (;;) {
      const steps = LIGHTBOX_WALK[codeAt(x, y)], cell = y * wide + x;
      const at = steps[0][0] === entry ? 0 : 1;
      if (seen[cell] & (1 << at) || points > LIGHTBOX_MOST) return ring;
      seen[cell] |= 1 << at;
      points++;
      lightboxCross(ring, codes, width, height, level, x, y, entry);
      const exit = steps[at][1];
      if (exit === 0) { y--; entry = 2; } else if (exit === 1) { x++; entry = 3; } else if (exit === 2) { y++; entry = 0; } else { x--; entry = 1; }
    }
  };
  const visit = (x, y) => {
    const steps = LIGHTBOX_WALK[codeAt(x, y)] || [];
    for (let at = 0; at < steps.length; at++) {
      if (!(seen[y * wide + x] & (1 << at))) rings.push(walk(x, y, steps[at][0]));
    }
  };
  for (let tile = 0; tile < tiles.low.length && points <= LIGHTBOX_MOST; tile++) {
    if (tiles.low[tile] >= level || tiles.high[tile] < level) continue;
    const left = (tile % tiles.across) * LIGHTBOX_TILE, top = Math.floor(tile / tiles.across) * LIGHTBOX_TILE;
    for (let y = top; y < Math.min(top + LIGHTBOX_TILE, height + 1); y++) {
      for (let x = left; x < Math.min(left + LIGHTBOX_TILE, wide); x++) visit(x, y);
    }
  }
  return points > LIGHTBOX_MOST ? null : rings;
}

// Adds the point where the level crosses one edge of a cell; cell (x, y) has its centre at pixel corner (x, y).
function lightboxCross(ring, codes, width, height, level, x, y, edge) {
  const ax = edge === 1 ? x : x - 1, ay = edge === 2 ? y : y - 1;
  const bx = edge === 3 ? x - 1 : x, by = edge === 0 ? y - 1 : y;
  const a = ax < 0 || ay < 0 || ax >= width || ay >= height ? -1 : codes[ay * width + ax];
  const b = bx < 0 || by < 0 || bx >= width || by >= height ? -1 : codes[by * width + bx];
  const share = a < 0 || b < 0 ? 0.5 : (level - 0.5 - a) / (b - a);
  const kept = Math.min(1, Math.max(0, share));
  ring.push(ax + 0.5 + (bx - ax) * kept, ay + 0.5 + (by - ay) * kept);
}

// SVG path text of rings, stretched to image pixels; points within 0.12 px of a straight run are left out.
function lightboxPath(rings, scaleX, scaleY) {
  const parts = [];
  const put = (letter, x, y) => parts.push(letter, (x * scaleX).toFixed(2), ' ', (y * scaleY).toFixed(2));
  for (const ring of rings) {
    let x = ring[0], y = ring[1], dx = 0, dy = 0;
    put('M', x, y);
    for (let i = 2; i < ring.length; i += 2) {
      const ax = ring[i] - x, ay = ring[i + 1] - y;
      if (dx || dy) {
        if (Math.abs(ax * dy - ay * dx) < 0.12 * Math.hypot(dx, dy)) continue;
        x = ring[i - 2]; y = ring[i - 1];
        put('L', x, y);
      }
      dx = ring[i] - x; dy = ring[i + 1] - y;
    }
    if (ring.length > 2) put('L', ring[ring.length - 2], ring[ring.length - 1]);
    parts.push('Z');
  }
  return parts.join('');
}
