// Screens: what is shown where no case is open: the list of studies, the protocol, a break, the end.

const RR_STATES = {
  ready: 'Ready', washout: 'Waiting', break: 'Break', done: 'Finished', withdrawn: 'Withdrawn', closed: 'Closed', failed_training: 'Training not passed',
};

function rrPlainTime(stamp) {
  const date = new Date(stamp);
  return stamp && !Number.isNaN(date.getTime()) ? date.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }) : '';
}

// The list of one's studies.
function rrList(screen, studies) {
  screen.replaceChildren();
  rrNode('h2', '', 'Your reader studies', screen);
  if (!studies.length) { rrNode('p', 'lbx-empty', 'You are not a reader of any study at present.', screen); return; }
  const list = rrNode('ul', 'rr-studies', '', screen);
  for (const study of studies) {
    const item = rrNode('li', '', '', list), text = rrNode('div', '', '', item), row = rrNode('p', 'lbx-row lbx-soft', '', text);
    text.prepend(rrNode('h3', '', study.title));
    const bar = rrNode('progress', '', '', row);
    Object.assign(bar, { max: Math.max(1, study.planned), value: study.done });
    bar.setAttribute('aria-label', `Readings done in ${study.title}`);
    rrNode('span', 'lbx-number', `${study.done} of ${study.planned} readings`, row);
    rrNode('span', 'lbx-badge', RR_STATES[study.state] || study.state, row);
    const told = [study.message, study.from ? `From ${rrPlainTime(study.from)}.` : ''].filter(Boolean).join(' ');
    if (told) rrNode('p', 'lbx-soft', told, text);
    const open = rrNode('a', 'rr-open', study.state === 'ready' ? (study.done ? 'Go on reading' : 'Start reading') : 'Open', item);
    open.href = `/reading/${encodeURIComponent(study.code)}`;
    open.setAttribute('aria-label', `${open.textContent}: ${study.title}`);
  }
}

// A message with its buttons: [text, act, main].
function rrMessage(screen, title, texts, buttons) {
  screen.replaceChildren();
  const box = rrNode('div', 'rr-message', '', screen), row = rrNode('p', 'lbx-row');
  rrNode('h2', '', title, box);
  for (const text of texts.filter(Boolean)) rrNode('p', 'rr-prose', text, box);
  box.append(row);
  for (const [text, act, main] of buttons) rrButton(text, act, row, main ? 'lbx-main' : '');
  const first = row.querySelector('.lbx-main') || row.querySelector('button');
  if (first) first.focus();
  return box;
}

// What stands in place of a case: by the state of the study for this reader.
function rrStateScreen(screen, room, act) {
  const { state, message, progress } = room, away = ['Back to my studies', act.leave, false];
  const count = `${progress.done} of ${progress.planned} readings are handed in.`, since = room.from ? `You can go on from ${rrPlainTime(room.from)}.` : '';
  if (state === 'break') rrMessage(screen, 'Break', [message, count], [['Go on reading', act.resume, true], away]);
  else if (state === 'washout') rrMessage(screen, 'The next session comes later', [message, since, count], [away]);
  else if (state === 'done') rrMessage(screen, 'Thank you', [message || 'You have read everything in this study.', count], [away]);
  else if (state === 'failed_training') rrMessage(screen, 'The training was not passed', [message], [away]);
  else rrMessage(screen, RR_STATES[state] || 'Nothing to read', [message || 'There is nothing to read at present.', count], [away]);
}

// The protocol and reading guide, before the first reading and whenever it is asked for.
function rrGuide(screen, room, begin) {
  const points = room.questions.filter((question) => question.per_case !== false && question.anchors && question.anchors.length);
  const { limits, progress } = room, parts = [];
  parts.push(`${rrCount(progress.planned, 'reading')}${progress.sessions > 1 ? ` in ${progress.sessions} sessions` : ''}. A session has at most ${limits.readings} readings or ${limits.minutes} minutes.`);
  parts.push(room.allow_changes ? 'Answers that were handed in can be changed, with a reason.' : 'Answers that were handed in cannot be changed.');
  const box = rrMessage(screen, room.title, [room.text, parts.join(' ')], [[progress.done ? 'Go on reading' : 'Start reading', begin, true]]);
  if (!points.length) return;
  const guide = rrNode('details', 'rr-guide', ''), grid = rrNode('div', '', '', guide);
  guide.prepend(rrNode('summary', '', 'Scoring guide'));
  for (const question of points) {
    const part = rrNode('div', '', '', grid), list = rrNode('ol', '', '');
    rrNode('h3', '', question.text, part);
    part.append(list);
    for (const point of rrPoints(question)) {
      const item = rrNode('li', '', '', list);
      rrNode('b', '', point.text, item);
      rrNode('span', '', point.anchor, item);
    }
  }
  box.insertBefore(guide, box.lastChild);
}
