// Store: what has to survive a lost connection or a closed page, on this computer, by reader. Answers only.

const RR_KEY = 'lightbox.reading';

function rrStoreKey(kind, token) {
  return `${RR_KEY}.${kind}.${rrMeta('lightbox-user')}.${token}`;
}

const rrMemory = new Map(); // stands in where the browser keeps nothing

function rrRead(kind, token) {
  const key = rrStoreKey(kind, token);
  try {
    const text = localStorage.getItem(key);
    if (text !== null) return JSON.parse(text);
  } catch (error) { /* a private window, or an entry that is damaged */ }
  return rrMemory.get(key) || null;
}

// Keeps a value; false where only this page can keep it.
function rrKeep(kind, token, value) {
  const key = rrStoreKey(kind, token);
  rrMemory.set(key, value);
  try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch (error) { return false; }
}

function rrDrop(kind, token) {
  const key = rrStoreKey(kind, token);
  rrMemory.delete(key);
  try { localStorage.removeItem(key); } catch (error) { /* nothing was kept */ }
}

// Tokens of one kind that this reader has something kept for.
function rrKept(kind) {
  const start = rrStoreKey(kind, ''), found = new Set([...rrMemory.keys()].filter((key) => key.startsWith(start)));
  try {
    for (let i = 0; i < localStorage.length; i++) if (localStorage.key(i).startsWith(start)) found.add(localStorage.key(i));
  } catch (error) { /* as above */ }
  return [...found].map((key) => key.slice(start.length));
}
