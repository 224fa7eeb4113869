// Answer: what is known of one question: nothing, a value, a text, marks, or why it cannot be judged.

const RR_MARKS = ['point', 'box', 'outline'];
const RR_LEAST = { point: 1, box: 2, outline: 3 };

function rrAnswer(given) {
  const known = given || {};
  return {
    status: known.status || '', value: known.value === undefined ? null : known.value, text: known.text || '',
    marks: known.marks || null, reason: known.reason || '',
  };
}

// The answers as they are sent: a question left open was skipped.
function rrTold(questions, answers) {
  return Object.fromEntries(questions.map(({ id }) => {
    const answer = rrAnswer(answers[id]);
    return [id, { ...answer, status: answer.status || 'skipped' }];
  }));
}

// Whether a question is settled, so that digits go to the next one.
function rrSettled(question, answer) {
  const { status, value, text, marks } = rrAnswer(answer);
  if (status === 'cannot_judge' || status === 'not_applicable') return true;
  if (status !== 'answered') return false;
  if (RR_MARKS.includes(question.kind)) return Boolean(marks && marks.points.length >= RR_LEAST[question.kind]);
  if (question.kind === 'text') return Boolean(text.trim());
  return value !== null;
}

// What is wrong with an answer, in one sentence; empty where it may be handed in.
function rrProblem(question, answer) {
  const { status, value, marks } = rrAnswer(answer);
  if (question.kind === 'number' && status === 'answered' && value !== null && !(value >= question.low && value <= question.high)) {
    return `Please give a number from ${question.low} to ${question.high}.`;
  }
  if (status === 'answered' && RR_MARKS.includes(question.kind) && marks && !rrSettled(question, answer)) return 'The mark is not complete.';
  if (!question.required || rrSettled(question, answer)) return '';
  const what = RR_MARKS.includes(question.kind) ? 'Please mark the image' : 'Please answer';
  return question.cannot_judge ? `${what}, or choose “Cannot judge”.` : `${what}.`;
}

// The points that a question offers, with the digit that chooses each.
function rrPoints(question) {
  if (question.kind === 'scale') {
    const many = Math.round(question.high - question.low) + 1;
    return Array.from({ length: many }, (_, i) => ({ value: question.low + i, text: String(question.low + i), anchor: question.anchors[i] || '' }));
  }
  return (question.choices || []).map((text, i) => ({ value: i, text, anchor: '' }));
}

// The value that a digit stands for, or undefined: on a scale its own number, of a choice the n-th.
function rrByDigit(question, digit) {
  const points = rrPoints(question), at = question.kind === 'choice' ? digit - 1 : points.findIndex((point) => point.value === digit);
  return points[at] && points[at].value;
}

// An answer in words, such as that of the stage before.
function rrWords(question, given) {
  const answer = rrAnswer(given);
  if (answer.status === 'cannot_judge') return 'cannot judge';
  if (answer.status !== 'answered') return 'no answer';
  if (question.kind === 'choice') return (question.choices || [])[answer.value] || '';
  if (question.kind === 'text') return answer.text;
  if (RR_MARKS.includes(question.kind)) return answer.marks ? 'marked' : 'no mark';
  return `${answer.value}${question.unit ? ` ${question.unit}` : ''}`;
}
