// The counterfactual probe: mountProbe(element, getValue, send) marks a region and asks again.

const PROBE_HINTS = {
  brush: 'Paint over what is to be removed.',
  eraser: 'Paint over what is to stay.',
  click: 'Click on the image to mark a disc of the chosen radius.',
  take: 'Click inside a region of the model to take it whole; elsewhere a disc of the chosen radius is marked.',
};
const PROBE_POLL_MS = 700, PROBE_PATIENCE_MS = 120000;

function mountProbe(element, getValue, send) {
  if (element.panel) element.panel.dispose();
  const controller = new AbortController(), { signal } = controller, part = {};
  for (const node of element.querySelectorAll('[data-lbx]')) part[node.dataset.lbx] = node;
  const own = { value: null, given: null, case: null, image: 0, tool: 'brush', masks: new Map(), radii: new Map(), methods: null, fill: null, target: null, busy: 0, timer: 0, answer: null, said: '', newest: null };

  const image = () => (own.value && own.value.images && own.value.images[own.image]) || null;
  const mask = () => {
    const now = image();
    if (!now) return null;
    if (!own.masks.has(own.image)) own.masks.set(own.image, new ProbeMask(now.width, now.height, now.pitch || [1, 1]));
    return own.masks.get(own.image);
  };
  // The slider is quadratic, from one pixel to a quarter of the shorter side.
  const radius = () => {
    const now = image(), [row, column] = now.pitch || [1, 1], low = Math.min(row, column) / 2;
    const high = Math.max(2 * low, 0.25 * Math.min(now.height * row, now.width * column)), share = part.radius.valueAsNumber / 100;
    return low + (high - low) * share * share;
  };
  const state = { image, mask, radius, tool: () => own.tool, ready: () => Boolean(image() && !image().unread && !own.busy) };

  const deeds = {
    stroke: (from, to) => { mask().stroke(from.x, from.y, to.x, to.y, radius(), own.tool === 'eraser' ? 0 : 1); own.said = ''; marked(); },
    click: (at) => {
      const x = Math.floor(at.x), y = Math.floor(at.y), found = image().regions.find((each) => probeInside(each.runs, y * image().width + x));
      mask().remember();
      if (found) mask().add(found.runs);
      else mask().stroke(at.x, at.y, at.x, at.y, radius(), 1);
      own.said = found ? `“${found.label}” was taken.` : '';
      marked();
    },
    box: (from, to) => {
      const now = image(), left = Math.max(0, Math.min(from.x, to.x)), top = Math.max(0, Math.min(from.y, to.y));
      const width = Math.min(now.width, Math.max(from.x, to.x)) - left, height = Math.min(now.height, Math.max(from.y, to.y)) - top;
      if (width < 1 || height < 1) return;
      wait('Looking at the box …');
      send('outline', { case: own.value.case, target: own.target, image: now.image, box: [left, top, width, height] });
    },
    undo: () => { if (mask() && mask().undo()) { own.said = ''; marked(); } },
    tool: (name) => { own.tool = name; controls(); canvas.redraw(); },
    radius: (step) => { part.radius.value = String(part.radius.valueAsNumber + step); controls(); canvas.redraw(); },
    lost: () => { part.veil.hidden = false; part.veil.textContent = 'The picture could not be loaded. Please open the case again.'; },
  };
  const canvas = probeCanvas(part.canvas, state, deeds, signal);

  // What is marked now, and whether it can be asked about.
  function marked() {
    const now = image(), region = mask();
    if (!now) return;
    const [row, column] = now.pitch || [0, 0], area = region.count * row * column / 100;
    const size = now.pitch ? `, ${area < 10 ? area.toFixed(2) : area.toFixed(1)} cm²` : '';
    const text = region.count ? `Marked: ${probeShare(region.share)} of the image${size}.` : 'Nothing is marked yet.';
    part.marked.textContent = [text, own.said].filter(Boolean).join(' ');
    const go = element.querySelector('[data-do="remove"]'), all = region.count === region.cells.length;
    go.disabled = Boolean(own.busy || own.value.job || now.unread || !region.count || all);
    part.why.textContent = own.busy ? own.waits : now.unread || (all ? 'Leave some of the image, so that something remains to be read.' : region.count ? '' : 'Mark a region first.');
    element.querySelector('[data-do="undo"]').disabled = !region.past.length || Boolean(own.busy);
    element.querySelector('[data-do="clear"]').disabled = !region.count || Boolean(own.busy);
    canvas.redraw();
  }

  function wait(text) {
    clearTimeout(own.busy);
    own.waits = text;
    own.busy = setTimeout(() => { own.busy = 0; problem('No answer came. Please try again.'); marked(); }, PROBE_PATIENCE_MS);
    marked();
  }

  function problem(text) {
    part.problem.textContent = text || '';
    part.problem.hidden = !text;
  }

  function controls() {
    const now = image(), tools = part.tools.querySelectorAll('[data-tool]');
    for (const button of tools) button.setAttribute('aria-pressed', String(button.dataset.tool === own.tool));
    part.radius.closest('.lbp-size').classList.toggle('is-idle', own.tool === 'box');
    if (!now) return;
    const reach = radius();
    part.radiustext.textContent = now.pitch ? `${reach < 10 ? reach.toFixed(1) : reach.toFixed(0)} mm` : `${Math.round(reach)} pixels (the file states no millimetres)`;
    part.hint.textContent = own.tool === 'box' ? own.value.outline.text : PROBE_HINTS[own.tool === 'click' && now.regions.length ? 'take' : own.tool];
  }

  function images() {
    const all = own.value.images;
    part.images.replaceChildren(...(all.length > 1 ? all.map((each, n) => probeButton(each.title, n === own.image, () => { own.image = n; open(); })) : []));
  }

  // Another image: its picture, its regions, and what was marked on it before.
  function open() {
    const now = image();
    own.said = '';
    images();
    part.veil.hidden = !now.unread;
    part.veil.textContent = now.unread;
    part.take.replaceChildren(...now.regions.map((each) => probeButton(`Take: ${each.label}`, null, () => {
      if (own.busy) return;
      mask().remember();
      mask().add(each.runs);
      own.said = `“${each.label}” was taken.`;
      marked();
    })));
    canvas.show(probeOwn(now.picture) ? now.picture : '');
    controls();
    marked();
  }

  function choices() {
    const value = own.value;
    if (!value.fills.some((each) => each.id === own.fill)) own.fill = value.fills[0].id;
    part.fills.replaceChildren(...value.fills.map((each) => probeButton(each.title, each.id === own.fill, () => { own.fill = each.id; choices(); })));
    part.filltext.textContent = value.fills.find((each) => each.id === own.fill).summary;
    part.target.replaceChildren(...value.targets.map((name) => new Option(name, name, false, name === own.target)));
    const able = value.methods.filter((each) => !each.reason), refused = value.methods.filter((each) => each.reason);
    if (own.methods) own.methods = new Set(able.filter((each) => own.methods.has(each.id)).map((each) => each.id));
    else own.methods = new Set(able.filter((each) => each.chosen).map((each) => each.id));
    const full = own.methods.size >= value.most_methods;
    part.mapstitle.textContent = `Maps to compare: ${able.filter((each) => own.methods.has(each.id)).map((each) => each.title).join(', ') || 'none'}`;
    const held = part.methods.contains(document.activeElement) ? document.activeElement.value : null;
    part.methods.replaceChildren(...able.map((each) => {
      const label = probeNode('label', ''), tick = label.appendChild(probeNode('input', ''));
      tick.type = 'checkbox';
      tick.value = each.id;
      tick.checked = own.methods.has(each.id);
      tick.disabled = full && !tick.checked;
      label.title = each.summary;
      label.append(probeNode('span', '', each.title), ...(each.slow ? [probeNode('small', '', 'slow')] : []));
      return label;
    }));
    const again = held && [...part.methods.querySelectorAll('input')].find((each) => each.value === held);
    if (again) again.focus({ preventScroll: true });
    part.refusedtitle.textContent = `At most ${value.most_methods} at a time.${refused.length ? ' Not available here:' : ''}`;
    part.refused.replaceChildren(...refused.map((each) => { const group = probeNode('div', ''); group.append(probeNode('dt', '', each.title), probeNode('dd', '', each.reason)); return group; }));
  }

  function job() {
    const now = own.value.job;
    part.job.hidden = !now;
    clearTimeout(own.timer);
    if (!now) return;
    const left = Number.isFinite(now.left_s) && now.left_s !== null ? `, about ${Math.max(1, Math.round(now.left_s))} s left` : '';
    part.jobtext.textContent = now.message || (now.state === 'waiting' ? `Waiting, number ${now.position} in the queue.` : `Asking again: ${Math.round(100 * (now.share || 0))} %${left}.`);
    if (now.share) part.jobbar.value = now.share;
    else part.jobbar.removeAttribute('value');
    own.timer = setTimeout(poll, PROBE_POLL_MS);
  }

  async function poll() {
    if (signal.aborted || !element.isConnected || !own.value || !own.value.job) return;
    const asked = own.value;
    let found = null;
    try {
      const answer = await fetch(`/probe/${encodeURIComponent(asked.case)}.json?target=${encodeURIComponent(asked.target)}`, { signal, credentials: 'same-origin' });
      if (answer.ok) found = await answer.json();
    } catch (error) { if (signal.aborted) return; }
    if (own.value !== asked) return;
    if (found) take(found);
    else own.timer = setTimeout(poll, 3 * PROBE_POLL_MS);
  }

  function answers() {
    const results = own.value.results || [], newest = results.length ? results[0].id : null;
    if (newest !== own.newest) { own.newest = newest; own.answer = newest; }
    part.caution.textContent = own.value.caution;
    probeAnswer(part, results, own.answer, (id) => { own.answer = id; answers(); });
  }

  // A value from the page or from the route.
  function take(value) {
    const known = Boolean(value && value.case), fresh = known && value.case !== own.case, readable = known && value.images.length > 0;
    own.value = readable ? value : null;
    part.empty.hidden = known;
    part.body.hidden = !known;
    part.work.hidden = !readable;
    if (fresh || !known) { own.masks.clear(); own.image = 0; own.newest = own.answer = null; own.case = known ? value.case : null; part.pairs.dataset.answer = ''; }
    clearTimeout(own.busy);
    own.busy = 0;
    if (!known) { clearTimeout(own.timer); return; }
    problem(value.problem);
    if (!readable) { part.answer.hidden = part.pairs.hidden = true; clearTimeout(own.timer); return; }
    if (fresh || own.asked !== value.target) own.target = own.asked = value.target;
    if (fresh) own.image = Math.max(0, value.images.findIndex((each) => !each.unread));
    suggest(value.suggestion);
    choices();
    if (fresh || own.drawn !== image().picture) { own.drawn = image().picture; open(); }
    controls();
    marked();
    job();
    answers();
  }

  // The region that a box encloses; it is added to what is marked, and may be undone.
  function suggest(found) {
    if (!found || found === own.suggested) return;
    own.suggested = found;
    const place = own.value.images.findIndex((each) => each.image === found.image);
    if (place !== own.image) return;
    mask().remember();
    mask().add(found.runs);
    own.said = found.text;
  }

  element.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button || !own.value) return;
    if (button.dataset.tool) deeds.tool(button.dataset.tool);
    if (button.dataset.do === 'undo') deeds.undo();
    if (button.dataset.do === 'clear') { mask().remember(); mask().clear(); own.said = ''; marked(); }
    if (button.dataset.do === 'stop') send('stop', { case: own.value.case, target: own.target });
    if (button.dataset.do === 'remove') remove();
  }, { signal });
  part.radius.addEventListener('input', () => { controls(); canvas.redraw(); }, { signal });
  part.target.addEventListener('change', () => { own.target = part.target.value; }, { signal });
  part.methods.addEventListener('change', (event) => {
    if (event.target.checked) own.methods.add(event.target.value);
    else own.methods.delete(event.target.value);
    choices();
  }, { signal });

  function remove() {
    const runs = mask().runs();
    if (runs.length > own.value.most_runs) { problem('The marked region has too many small pieces; please mark it more simply.'); return; }
    problem('');
    part.mapstitle.parentElement.open = false;
    wait('The model is being asked again …');
    send('remove', { case: own.value.case, image: image().image, mask: runs, fill: own.fill, methods: [...own.methods], target: own.target });
  }

  element.panel = {
    dispose: () => { controller.abort(); clearTimeout(own.timer); clearTimeout(own.busy); },
    update: () => take(getValue()),
    state: () => ({ image: own.image, tool: own.tool, count: mask() ? mask().count : 0, runs: mask() ? mask().runs() : [] }),
  };
  element.panel.update();
  return element.panel;
}

function probeButton(text, pressed, act) {
  const button = probeNode('button', '', text);
  button.type = 'button';
  if (pressed !== null) button.setAttribute('aria-pressed', String(pressed));
  button.addEventListener('click', act);
  return button;
}

function probeShare(share) {
  if (share < 0.001) return 'less than 0.1 %';
  return share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${(100 * share).toFixed(0)} %`;
}
