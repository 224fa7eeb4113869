// Tabs: a reader who has one study open twice in a browser is told, and a reading handed in there moves on here.

// told(event, detail): 'other' (another tab is open), 'handed' ({token}).
function rrTabs(code, told) {
  const tabs = { id: rrMark(), others: new Set() };
  const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel(`lightbox-reading.${rrMeta('lightbox-user')}.${code}`) : null;
  const say = (kind, more) => { if (channel) channel.postMessage({ kind, from: tabs.id, ...more }); };
  if (channel) {
    channel.addEventListener('message', ({ data }) => {
      if (data.kind === 'left') tabs.others.delete(data.from);
      else if (data.kind === 'handed') told('handed', data);
      else tabs.others.add(data.from);
      if (data.kind === 'hello') say('here');
      told('other', { count: tabs.others.size });
    });
    globalThis.addEventListener('pagehide', () => say('left'));
    globalThis.addEventListener('pageshow', (event) => { if (event.persisted) say('hello'); });
  }
  tabs.handed = (token) => say('handed', { token });
  say('hello');
  return tabs;
}
