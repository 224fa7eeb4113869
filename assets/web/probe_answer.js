// What came of a removal: a sentence, pictures, probabilities and maps, before and after.

function probeAnswer(part, results, chosen, choose) {
  part.answer.hidden = part.pairs.hidden = !results.length;
  if (!results.length) return;
  const answer = results.find((each) => each.id === chosen) || results[0];
  part.past.hidden = results.length < 2;
  part.past.replaceChildren(probeNode('h3', '', 'Answers so far'), ...results.map((each, n) => {
    const row = each.rows.find((one) => one.target);
    const text = `${results.length - n}. ${each.title}, ${each.share_text}, ${each.fill.toLowerCase()}: ${row.name} ${probeNumber(row.before, probeDigits(row))} → ${probeNumber(row.after, probeDigits(row))}`;
    return probeButton(text, each === answer, () => choose(each.id));
  }));
  if (part.pairs.dataset.answer === answer.id) return;
  part.pairs.dataset.answer = answer.id;
  part.sentence.textContent = [answer.sentence, answer.turn].filter(Boolean).join(' ');
  part.table.replaceChildren(probeTable(answer));
  const pictures = probePair(`${answer.title}, filling: ${answer.fill.toLowerCase()}`, answer.pictures, ['Before; what lies inside the line was removed', 'After'], ['', ''], answer);
  part.pairs.replaceChildren(pictures, ...answer.methods.map((method) => {
    const title = method.blind ? `${method.title} (whatever the class)` : `${method.title} for ${answer.target}`;
    return probePair(title, method.pictures, ['Before', 'After, on the same scale'], method.reasons, answer);
  }));
}

function probePair(title, addresses, captions, reasons, answer) {
  const pair = probeNode('div', 'lbp-pair'), two = probeNode('div', 'lbp-two');
  pair.append(probeNode('h3', '', title), two);
  addresses.forEach((address, n) => {
    const figure = two.appendChild(probeNode('figure', ''));
    if (probeOwn(address)) {
      const picture = figure.appendChild(probeNode('img', ''));
      [picture.width, picture.height] = answer.size;
      picture.alt = `${title}: ${captions[n]}`;
      picture.src = address;
    }
    figure.append(probeNode('figcaption', '', captions[n]));
    if (reasons[n]) figure.append(probeNode('p', '', reasons[n]));
  });
  return pair;
}

function probeTable(answer) {
  const table = probeNode('table', 'lbx-number'), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const title of ['Probability of', 'Before', 'After', 'Change']) {
    const cell = head.appendChild(probeNode('th', '', title));
    cell.scope = 'col';
  }
  for (const row of answer.rows) {
    const line = body.insertRow(), name = line.appendChild(probeNode('th', '', row.name));
    name.scope = 'row';
    line.classList.toggle('is-target', row.target);
    const digits = probeDigits(row);
    line.append(...[probeNumber(row.before, digits), probeNumber(row.after, digits), probeChange(row.difference, digits)].map((text) => probeNode('td', '', text)));
  }
  const grade = body.insertRow(), same = answer.grade[0] === answer.grade[1];
  grade.className = 'is-grade';
  grade.append(probeNode('th', '', 'Grade'), ...[...answer.grade, same ? 'none' : ''].map((text) => probeNode('td', '', text)));
  return table;
}

// Only an address of our own becomes a picture.
function probeOwn(address) {
  return typeof address === 'string' && address.startsWith('/probe/');
}

function probeNumber(value, digits = 2) {
  return Number.isFinite(value) ? value.toFixed(digits) : 'not assessed';
}

function probeChange(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? '−' : '+'}${text}`;
}

// Two digits, or four where two would hide a change.
function probeDigits(row) {
  return row.before.toFixed(2) === row.after.toFixed(2) && row.before.toFixed(4) !== row.after.toFixed(4) ? 4 : 2;
}

function probeNode(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
