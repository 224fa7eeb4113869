// Marks: points, boxes and outlines that answer a question, drawn on the image as regions of the viewer.

// Numbers as typed become marks; null where they are too few, or lie outside.
function rrFromNumbers(kind, text, place) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number), points = [];
  if (!place || numbers.some((number) => !Number.isFinite(number)) || numbers.length % 2) return null;
  for (let i = 0; i < numbers.length; i += 2) points.push([numbers[i], numbers[i + 1]]);
  const inside = points.every(([x, y]) => x >= 0 && y >= 0 && x <= place.width && y <= place.height);
  const enough = kind === 'outline' ? points.length >= 3 : points.length === RR_LEAST[kind];
  return inside && enough ? { image: place.image, frame: place.frame, points: kind === 'box' ? rrCorners(points) : points } : null;
}

function rrCorners([[ax, ay], [bx, by]]) {
  return [[Math.min(ax, bx), Math.min(ay, by)], [Math.max(ax, bx), Math.max(ay, by)]];
}

// One mark as a region of the viewer.
function rrRegion(kind, marks, label, size) {
  const base = { image: marks.image, frame: marks.frame, label, kind: 'model' }, [first] = marks.points;
  if (kind === 'outline') return { ...base, contours: [marks.points] };
  if (kind === 'box' && marks.points.length > 1) {
    const [[left, top], [right, bottom]] = rrCorners(marks.points);
    return { ...base, box: [left, top, right - left, bottom - top] };
  }
  const [x, y] = first, arm = Math.max(4, size / 60), thin = 0.01;
  return { ...base, contours: [[[x - arm, y], [x + arm, y], [x + arm, y + thin]], [[x, y - arm], [x, y + arm], [x + thin, y + arm]]] };
}

// Lets the reader draw. view(): the viewer's handle; show(regions) puts them on the image; form is set by the room.
function rrMarking(stage, images, view, show) {
  const marking = { armed: '', form: null, drag: null };
  const controller = new AbortController(), { signal } = controller;
  const field = () => marking.form && marking.form.fields.find(({ question }) => question.id === marking.armed);
  marking.place = () => {
    const state = view() && view().state(), image = state ? state.active : 0;
    return images[image] ? { image, frame: state ? state.frames[image] : 0, width: images[image].width, height: images[image].height } : null;
  };
  marking.arm = (id) => {
    marking.armed = id;
    for (const each of marking.form.fields) if (each.armed) each.armed(each.question.id === id);
    stage.classList.toggle('is-marking', Boolean(id));
  };
  marking.draw = () => {
    const regions = [];
    marking.form.fields.forEach(({ question }, i) => {
      const { marks } = rrAnswer(marking.form.answers[question.id]);
      const drawn = marking.drag && marking.drag.id === question.id ? marking.drag.marks : marks;
      if (RR_MARKS.includes(question.kind) && drawn && drawn.points.length) {
        const image = images[drawn.image] || { width: 100, height: 100 };
        regions.push(rrRegion(question.kind, drawn, String(i + 1), Math.max(image.width, image.height)));
      }
    });
    const key = JSON.stringify(regions);
    if (key !== marking.key) { marking.key = key; show(regions); }
  };
  const locate = (event) => {
    const point = view().cursorToPixel(event.clientX, event.clientY), image = point && images[point.image];
    if (!image) return null;
    const clip = (value, most) => Math.round(Math.min(most, Math.max(0, value)) * 10) / 10;
    return { image: point.image, at: [clip(point.column, image.width), clip(point.row, image.height)] };
  };
  const keep = (marks) => marking.form.change(marking.armed, { status: 'answered', marks, reason: '' });
  stage.addEventListener('pointerdown', (event) => {
    const now = field(), found = now && event.button === 0 && locate(event);
    if (!found || marking.form.locked) return;
    event.preventDefault();
    event.stopPropagation();
    const marks = { image: found.image, frame: view().state().frames[found.image], points: [found.at] };
    if (now.question.kind === 'point') { keep(marks); marking.arm(''); return; }
    marking.drag = { id: marking.armed, kind: now.question.kind, marks };
    stage.setPointerCapture(event.pointerId);
  }, { capture: true, signal });
  stage.addEventListener('pointermove', (event) => {
    const { drag } = marking;
    if (!drag) return;
    event.stopPropagation();
    const found = locate(event), { points } = drag.marks, last = points[points.length - 1];
    if (!found || found.image !== drag.marks.image) return;
    if (drag.kind === 'box') drag.marks = { ...drag.marks, points: [points[0], found.at] };
    else if (Math.hypot(found.at[0] - last[0], found.at[1] - last[1]) > images[drag.marks.image].width / 250) drag.marks = { ...drag.marks, points: [...points, found.at] };
    requestAnimationFrame(() => { if (marking.drag) marking.draw(); });
  }, { capture: true, signal });
  const stop = (event) => {
    const { drag } = marking;
    if (!drag) return;
    event.stopPropagation();
    marking.drag = null;
    const [[ax, ay], [bx, by] = [ax, ay]] = drag.marks.points, whole = drag.kind === 'box' ? ax !== bx && ay !== by : drag.marks.points.length >= 3;
    if (whole && event.type === 'pointerup') { keep(drag.kind === 'box' ? { ...drag.marks, points: rrCorners(drag.marks.points) } : drag.marks); marking.arm(''); } else marking.draw();
  };
  for (const name of ['pointerup', 'pointercancel']) stage.addEventListener(name, stop, { capture: true, signal });
  marking.stop = () => { controller.abort(); stage.classList.remove('is-marking'); };
  return marking;
}
