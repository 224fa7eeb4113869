// Store: fetches raw layers once, keeps them within a byte budget, and words what went wrong.

const LIGHTBOX_BUDGET = 512 * 1024 * 1024;
const LIGHTBOX_SPARE = 200 * 1024 * 1024;   // of that, for layers that no open case uses

// What a failed answer means to the reader.
function lightboxReason(status) {
  if (status === 401 || status === 403) return `access is not allowed, or the session has ended (${status})`;
  if (status === 404 || status === 410) return `it is no longer available (${status})`;
  if (status >= 500) return `the server could not supply it (${status})`;
  return `the server refused the request (${status})`;
}

// entries: url -> {state: 'loading' | 'ready' | 'failed', spare, ...decoded data, error}. A spare entry belongs to no
// open case: it was fetched ahead, or its case was left. It is no reason to wait, and fails in silence.
function lightboxStore(signal, changed) {
  const entries = new Map();
  const store = { entries, requests: 0, pending: 0 };
  const load = async (url, size, priority) => {
    const target = new URL(url, document.baseURI);
    if (target.origin !== location.origin) throw Error('its address lies outside this server');
    store.requests++;
    const answer = await fetch(target, { credentials: 'same-origin', signal, priority }).catch((error) => {
      throw signal.aborted ? error : Error('the server cannot be reached');
    });
    if (!answer.ok) throw Error(lightboxReason(answer.status));
    const buffer = await answer.arrayBuffer().catch(() => { throw Error('the connection was lost'); });
    if (buffer.byteLength !== size) throw Error('the data are incomplete');
    return buffer;
  };
  // Drops the oldest entries that `held` does not name, until those `counted` fit a number of bytes.
  const trim = (most, counted, held) => {
    let total = 0;
    for (const entry of entries.values()) if (counted(entry)) total += entry.size;
    for (const [url, entry] of entries) {
      if (total <= most) return;
      if (!counted(entry) || entry.state === 'loading' || held(url)) continue;
      total -= entry.size;
      entries.delete(url);
    }
  };
  const trimSpare = () => trim(LIGHTBOX_SPARE, (entry) => entry.spare, () => false);
  const begin = (url, size, decode, wanted, spare) => {
    const entry = { state: 'loading', size, spare };
    entries.set(url, entry);
    if (!spare) store.pending++;
    entry.done = load(url, size, spare ? 'low' : 'auto').then((buffer) => {
      Object.assign(entry, decode(buffer), { state: 'ready' });
    }).catch((error) => {
      Object.assign(entry, { state: 'failed', error: error.message });
      if (entry.spare) entries.delete(url);
    }).finally(() => {
      if (entry.spare) { trimSpare(); return; }
      store.pending--;
      const held = wanted();
      trim(LIGHTBOX_BUDGET, () => true, (each) => held.has(each));
      if (!signal.aborted) changed();
    });
    return entry;
  };
  // The entry of a url, asked for at the first call; `decode` turns bytes into the fields kept.
  store.want = (url, size, decode, wanted) => {
    const entry = entries.get(url);
    if (!entry) return begin(url, size, decode, wanted, false);
    if (entry.spare) {
      entry.spare = false;
      if (entry.state === 'loading') store.pending++;
    }
    return entry;
  };
  // Fetches what may be wanted soon; resolves when it is here or has failed.
  store.ahead = (url, size, decode, wanted) => (entries.get(url) || begin(url, size, decode, wanted, true)).done;
  // Makes spare what the open case does not use.
  store.keep = (used) => {
    for (const [url, entry] of entries) {
      if (used(url) || entry.spare) continue;
      entries.delete(url);
      if (entry.state === 'failed') continue;
      if (entry.state === 'loading') store.pending--;
      Object.assign(entry, { spare: true, picture: null, canvas: null, tone: null });
      entries.set(url, entry);
    }
    trimSpare();
  };
  store.retry = () => {
    for (const [url, entry] of entries) if (entry.state === 'failed') entries.delete(url);
  };
  return store;
}

// Codes of a grey image, and the range that occurs.
function lightboxDecodeGrey(buffer) {
  const codes = new Uint16Array(buffer);
  let low = 65535, high = 0;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code < low) low = code;
    if (code > high) high = code;
  }
  return { codes, low, high };
}

// Size in bytes and decoder of one frame of an image, and of one heat map.
function lightboxBaseLoad(meta) {
  const decode = meta.colour ? (buffer) => ({ bytes: new Uint8Array(buffer) }) : lightboxDecodeGrey;
  return [meta.width * meta.height * (meta.colour ? 3 : 2), decode];
}

function lightboxHeatLoad(layer) {
  return [layer.width * layer.height * 2, (buffer) => ({ codes: new Uint16Array(buffer) })];
}
