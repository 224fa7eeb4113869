// Kit of the reading room: nodes whose text is never markup, and questions to the server.

function rrNode(tag, name, text, parent) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined && text !== '') node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function rrButton(text, act, parent, name) {
  const button = rrNode('button', name || '', text, parent);
  button.type = 'button';
  button.addEventListener('click', act);
  return button;
}

function rrMeta(name) {
  const node = document.querySelector(`meta[name="${name}"]`);
  return node ? node.content : '';
}

// A random mark; also where the page is not a secure context and crypto.randomUUID is missing.
function rrMark() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function rrCount(number, one, many) {
  return `${number} ${number === 1 ? one : many || `${one}s`}`;
}

// What the server refused. `again`: the same may succeed later; `ended`: somebody has to sign in or unlock first.
class RrRefusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
    this.ended = status === 401 || status === 423;
    this.again = !status || this.ended || status === 408 || status === 429 || status >= 500;
  }
}

const RR_WAIT_MS = 20000;

async function rrFetch(path, method, body, more) {
  const headers = { accept: 'application/json', 'x-lightbox-token': rrMeta('lightbox-token') };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), RR_WAIT_MS);
  try {
    const answer = await fetch(path, {
      method, headers, credentials: 'same-origin', cache: 'no-store', signal: stop.signal,
      body: body === undefined ? undefined : JSON.stringify(body), ...more,
    });
    const value = await answer.json().catch(() => ({}));
    return { status: answer.status, value };
  } catch (error) {
    return { status: 0, value: {} };
  } finally {
    clearTimeout(timer);
  }
}

// The token of a login that was renewed; false where it is another user's, whose answers these are not.
async function rrRenew() {
  const { status, value } = await rrFetch('/reading/api/token', 'GET');
  if (status !== 200 || value.user !== rrMeta('lightbox-user')) return false;
  document.querySelector('meta[name="lightbox-token"]').content = value.token;
  return true;
}

// Asks the server; throws RrRefusal with one sentence.
async function rrAsk(path, method = 'GET', body = undefined, more = {}) {
  let { status, value } = await rrFetch(path, method, body, more);
  if (status === 403 && value.expired && await rrRenew()) ({ status, value } = await rrFetch(path, method, body, more));
  if (status >= 200 && status < 300) return value;
  if ((status === 401 || status === 423) && globalThis.lightboxSession) globalThis.lightboxSession.look();
  if (status === 403 && value.expired) throw new RrRefusal(401, 'Somebody else has signed in here. Sign in as yourself to go on.');
  throw new RrRefusal(status, value.error || (status ? 'The server could not answer.' : 'The server cannot be reached.'));
}

function rrTime(date) {
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}
