// Tables: stored code -> screen colour, for grey images and for heat maps. Pure functions.

const LIGHTBOX_COLD = 0.05;   // share of the scale that stays clear
const LIGHTBOX_FULL = 0.5;    // share of the scale from which the opacity is complete

// Colours of one map, 256 x RGB, from the base64 text that Python supplies.
function lightboxColours(name) {
  const text = atob(LIGHTBOX_COLOUR_MAPS[name] || LIGHTBOX_COLOUR_MAPS.inferno);
  const bytes = new Uint8Array(768);
  for (let i = 0; i < 768; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// Display share 0..1 of a value under a window of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
function lightboxVoi(value, window) {
  const c = window.centre, w = window.width;
  if (window.function === 'SIGMOID') return 1 / (1 + Math.exp(-4 * (value - c) / w));
  if (window.function === 'LINEAR_EXACT') {
    if (value <= c - w / 2) return 0;
    if (value > c + w / 2) return 1;
    return (value - c) / w + 0.5;
  }
  if (value <= c - 0.5 - (w - 1) / 2) return 0;
  if (value > c - 0.5 + (w - 1) / 2) return 1;
  return (value - (c - 0.5)) / (w - 1) + 0.5;
}

// Smallest width that the function of a window allows.
function lightboxLeastWidth(window, range) {
  return (window.function || 'LINEAR') === 'LINEAR' ? 1 : Math.max(range, 1e-9) * 1e-4;
}

// 65536 packed RGBA greys; only codes low..high, those that occur, are filled.
function lightboxGreyTable(image, window, inverted, low, high, table) {
  for (let code = low; code <= high; code++) {
    let grey = Math.floor(lightboxVoi(code * image.slope + image.intercept, window) * 255 + 0.5);
    if (inverted) grey = 255 - grey;
    table[code] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  }
  return table;
}

// Window that spends the whole grey scale on the values that occur.
function lightboxFullRange(image, low, high) {
  const ends = [low * image.slope + image.intercept, high * image.slope + image.intercept];
  const first = Math.min(...ends), last = Math.max(...ends);
  if (image.slope === 1 && Number.isInteger(image.intercept)) {
    return { centre: (first + last + 1) / 2, width: last - first + 1, function: 'LINEAR' };
  }
  return { centre: (first + last) / 2, width: (last - first) || 1, function: 'LINEAR_EXACT' };
}

// Opacity share of a relative heat value.
function lightboxWeight(share, threshold, constant) {
  if (share < threshold) return 0;
  if (constant) return 1;
  return Math.min(1, Math.max(0, (share - LIGHTBOX_COLD) / (LIGHTBOX_FULL - LIGHTBOX_COLD)));
}

// 65536 packed RGBA colours whose alpha holds the weight; the global opacity comes later.
function lightboxHeatTable(name, threshold, constant) {
  const colours = lightboxColours(name), table = new Uint32Array(65536);
  for (let code = Math.floor(threshold * 65535); code < 65536; code++) {
    const share = code / 65535, at = 3 * Math.round(share * 255);
    const alpha = Math.round(255 * lightboxWeight(share, threshold, constant));
    if (alpha) {
      table[code] = ((alpha << 24) | (colours[at + 2] << 16) | (colours[at + 1] << 8) | colours[at]) >>> 0;
    }
  }
  return table;
}

// A number with about four significant digits and no needless exponent.
function lightboxNumber(value) {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
