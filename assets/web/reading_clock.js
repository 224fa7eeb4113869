// Clock: how a reading went. Durations by the monotonic clock; a hidden page or a minute of rest does not count.

const RR_IDLE_MS = 60000;
const RR_LOOK_MS = 300;

// look(): the viewer's state, or null; hasHeat: whether there is a map to be seen; before: what was measured already.
function rrClock(look, hasHeat, before) {
  const { active_ms: active = 0, first_ms: first = null, opacity = 0, window = 0, method = 0, heat_seen: heat } = before || {};
  const clock = { active, first, counts: { opacity, window, method }, heat: hasHeat ? Boolean(heat) : null };
  const began = performance.now(), controller = new AbortController(), { signal } = controller;
  let at = began, busy = began, seen = null, settled = null;

  // Adds the time since the last look, as far as somebody was there.
  const tick = () => {
    const now = performance.now();
    if (!document.hidden) clock.active += Math.max(0, Math.min(now, busy + RR_IDLE_MS) - at);
    at = now;
  };
  const act = () => {
    tick();
    busy = performance.now();
    if (clock.first === null) clock.first = Math.round(busy - began);
  };
  for (const name of ['pointerdown', 'keydown', 'wheel', 'input']) {
    document.addEventListener(name, act, { capture: true, passive: true, signal });
  }
  document.addEventListener('pointermove', () => { tick(); busy = performance.now(); }, { capture: true, passive: true, signal });
  // The time before a change of visibility counts by what the page was until then.
  document.addEventListener('visibilitychange', () => {
    const now = performance.now();
    if (document.hidden) clock.active += Math.max(0, Math.min(now, busy + RR_IDLE_MS) - at);
    else busy = now;
    at = now;
  }, { signal });

  const parts = (state) => ({
    opacity: JSON.stringify([state.opacity, state.threshold, state.map, state.constant]),
    window: JSON.stringify([state.windows.map((w) => [w.centre, w.width]), state.inverts]),
    method: JSON.stringify([state.overlay, state.visible, state.mode, state.active]),
  });
  // A change counts once it rests, so that one drag of a slider is one change.
  const watch = () => {
    tick();
    const state = look();
    if (!state || !state.views.length || !state.views[0].shown) return;
    const now = parts(state);
    if (hasHeat && state.overlay && !state.held && state.opacity > 0 && Object.values(state.visible).some(Boolean)) clock.heat = true;
    if (!settled) settled = now;
    for (const name in now) {
      if (now[name] !== settled[name] && seen && seen[name] === now[name]) {
        clock.counts[name] += 1;
        settled[name] = now[name];
      }
    }
    seen = now;
  };
  watch();
  const timer = setInterval(watch, RR_LOOK_MS);
  clock.read = () => {
    watch();
    return { first_ms: clock.first, active_ms: Math.round(clock.active), ...clock.counts, heat_seen: clock.heat };
  };
  clock.stop = () => { clearInterval(timer); controller.abort(); };
  return clock;
}
