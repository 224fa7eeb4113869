// Line charts as SVG: axes with round numbers, a legend, and the values under the pointer.

const ADMIN_COLOURS = ['#56b4e9', '#e69f00', '#2fae86', '#cc79a7', '#f0e442', '#d55e00', '#b3b8bf'];
const ADMIN_SVG = 'http://www.w3.org/2000/svg';

function adminShape(tag, attributes, text) {
  const node = document.createElementNS(ADMIN_SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

// Round steps from low to high, about `count` of them; whole numbers only where asked for.
function adminTicks(low, high, count, whole) {
  const span = high - low || Math.abs(high) || 1, raw = span / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  const fit = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw) || 10 * power, step = whole ? Math.max(1, fit) : fit, found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// A chart in `box`. Series: {name, points: [[x, y], …], dots}. It fits the width and is drawn anew when that changes.
function adminChart(box, { title, x, series, low, high, height = 210, mark }) {
  box.adminChart = { title, x, series: series.map((each) => ({ ...each, points: each.points.filter(([, v]) => typeof v === 'number') })), low, high, height, mark };
  if (!box.adminWatch) {
    box.adminWatch = new ResizeObserver(() => adminChartDraw(box));
    box.adminWatch.observe(box);
  }
  adminChartDraw(box);
  return box;
}

function adminChartDraw(box) {
  const chart = box.adminChart, width = box.clientWidth, stamp = JSON.stringify([chart, width]);
  if (!width || box.adminDrawn === stamp) return;
  box.adminDrawn = stamp;
  const shown = chart.series.map((each, place) => ({ ...each, colour: ADMIN_COLOURS[place % ADMIN_COLOURS.length] })).filter((each) => each.points.length);
  const legend = adminNode('ul', 'lba-legend', shown.map((each) => {
    const item = adminNode('li', '', adminNode('i'), each.name, adminNode('b', 'lbx-number', adminNumber(each.points[each.points.length - 1][1])));
    item.firstChild.style.background = each.colour;
    return item;
  }));
  const head = adminNode('div', 'lba-chart-head', adminNode('h3', '', chart.title), legend);
  if (!shown.length) {
    box.replaceChildren(head, adminNode('p', 'lba-chart-none', 'No values yet.'));
    return;
  }
  const all = shown.flatMap((each) => each.points), ys = all.map((p) => p[1]).sort((a, b) => a - b);
  const cut = ys[Math.min(ys.length - 1, Math.floor(0.995 * ys.length))];
  let bottom = chart.low ?? Math.min(ys[0], 0), top = chart.high ?? (cut > bottom ? cut * 1.06 : bottom + 1);
  const left = Math.min(...all.map((p) => p[0])), right = Math.max(...all.map((p) => p[0]), left + 1);
  const vertical = adminTicks(bottom, top, 4), frame = { l: 46, r: 12, t: 8, b: 34 }, tall = chart.height;
  const px = (at) => frame.l + ((at - left) / (right - left)) * (width - frame.l - frame.r);
  const py = (at) => tall - frame.b - ((Math.min(Math.max(at, bottom), top) - bottom) / (top - bottom)) * (tall - frame.t - frame.b);
  const svg = adminShape('svg', { width, height: tall, viewBox: `0 0 ${width} ${tall}`, role: 'img', 'aria-label': `${chart.title}: ${shown.map((each) => `${each.name} ${adminNumber(each.points[each.points.length - 1][1])}`).join(', ')}` });
  for (const at of vertical.found) {
    svg.append(adminShape('line', { x1: frame.l, x2: width - frame.r, y1: py(at), y2: py(at), class: 'lba-grid' }));
    svg.append(adminShape('text', { x: frame.l - 6, y: py(at) + 4, 'text-anchor': 'end' }, at.toFixed(vertical.digits)));
  }
  const level = adminTicks(left, right, Math.max(2, Math.floor(width / 110)), true);
  for (const at of level.found) svg.append(adminShape('text', { x: px(at), y: tall - frame.b + 16, 'text-anchor': 'middle' }, adminWhole(at)));
  svg.append(adminShape('text', { x: (frame.l + width - frame.r) / 2, y: tall - 3, 'text-anchor': 'middle', class: 'lba-axis' }, chart.x));
  if (typeof chart.mark === 'number') {
    svg.append(adminShape('line', { x1: px(chart.mark), x2: px(chart.mark), y1: frame.t, y2: tall - frame.b, class: 'lba-mark' }));
    const isLate = px(chart.mark) > width - 60;
    svg.append(adminShape('text', { x: px(chart.mark) + (isLate ? -4 : 4), y: tall - frame.b - 5, 'text-anchor': isLate ? 'end' : 'start', class: 'lba-axis' }, 'best'));
  }
  for (const each of shown) {
    const path = each.points.map(([a, b], place) => `${place ? 'L' : 'M'}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join('');
    svg.append(adminShape('path', { d: path, fill: 'none', stroke: each.colour, 'stroke-width': 1.8, 'stroke-linejoin': 'round' }));
    if (each.dots || each.points.length === 1) for (const [a, b] of each.points) svg.append(adminShape('circle', { cx: px(a), cy: py(b), r: 3, fill: each.colour }));
  }
  const line = adminShape('line', { y1: frame.t, y2: tall - frame.b, class: 'lba-hair', visibility: 'hidden' });
  svg.append(line);
  const tip = adminNode('div', 'lba-tip');
  tip.hidden = true;
  svg.addEventListener('pointermove', (event) => {
    const at = left + ((event.offsetX - frame.l) / (width - frame.l - frame.r)) * (right - left);
    const near = shown.map((each) => [each, each.points.reduce((best, p) => (Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best))]);
    const [, focus] = near.reduce((best, pair) => (Math.abs(pair[1][0] - at) < Math.abs(best[1][0] - at) ? pair : best));
    adminSet(line, { x1: px(focus[0]), x2: px(focus[0]), visibility: 'visible' });
    tip.replaceChildren(adminNode('b', '', `${chart.x} ${adminWhole(focus[0])}`), ...near.filter(([, p]) => Math.abs(px(p[0]) - px(focus[0])) < 12)
      .map(([each, p]) => adminNode('span', '', `${each.name} ${adminNumber(p[1])}`)));
    tip.hidden = false;
    tip.style.left = `${Math.min(Math.max(0, px(focus[0]) + 10), width - 150)}px`;
  });
  svg.addEventListener('pointerleave', () => { tip.hidden = true; line.setAttribute('visibility', 'hidden'); });
  box.replaceChildren(head, adminNode('div', 'lba-plot', svg, tip));
}
