// Store: fetches raw layers once, keeps them within a byte budget, and words what went wrong.

const LIGHTBOX_BUDGET = 512 * 1024 * 1024;

// What a failed answer means to the reader.
function lightboxReason(status) {
  if (status === 401 || status === 403) return `access is not allowed, or the session has ended (${status})`;
  if (status === 404 || status === 410) return `it is no longer available (${status})`;
  if (status >= 500) return `the server could not supply it (${status})`;
  return `the server refused the request (${status})`;
}

// entries: url -> {state: 'loading' | 'ready' | 'failed', ...decoded data, error}.
function lightboxStore(signal, changed) {
  const entries = new Map();
  const store = { entries, requests: 0, pending: 0 };
  const load = async (url, size) => {
    const target = new URL(url, document.baseURI);
    if (target.origin !== location.origin) throw Error('its address lies outside this server');
    store.requests++;
    const answer = await fetch(target, { credentials: 'same-origin', signal }).catch((error) => {
      throw signal.aborted ? error : Error('the server cannot be reached');
    });
    if (!answer.ok) throw Error(lightboxReason(answer.status));
    const buffer = await answer.arrayBuffer().catch(() => { throw Error('the connection was lost'); });
    if (buffer.byteLength !== size) throw Error('the data are incomplete');
    return buffer;
  };
  const trim = (wanted) => {
    let total = 0;
    for (const entry of entries.values()) total += entry.size;
    for (const [url, entry] of entries) {
      if (total <= LIGHTBOX_BUDGET) return;
      if (wanted.has(url) || entry.state === 'loading') continue;
      total -= entry.size;
      entries.delete(url);
    }
  };
  // The entry of a url, asked for at the first call; `decode` turns bytes into the fields kept.
  store.want = (url, size, decode, wanted) => {
    let entry = entries.get(url);
    if (entry) return entry;
    entry = { state: 'loading', size };
    entries.set(url, entry);
    store.pending++;
    load(url, size).then((buffer) => {
      Object.assign(entry, decode(buffer), { state: 'ready' });
      trim(wanted());
    }).catch((error) => {
      Object.assign(entry, { state: 'failed', error: error.message });
    }).finally(() => { store.pending--; if (!signal.aborted) changed(); });
    return entry;
  };
  store.keep = (urls) => {
    for (const [url, entry] of entries) if (!urls(url) && entry.state !== 'loading') entries.delete(url);
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
