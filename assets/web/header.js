// Header: brand, notice, who is signed in. All text goes through textContent.
function mountLightboxHeader(element, getValue) {
  const find = (name) => element.querySelector(`[data-part="${name}"]`);
  function draw() {
    const value = getValue() || {};
    find('notice').textContent = value.notice || '';
    find('user').textContent = value.user || '';
    find('open').hidden = !value.open;
    find('leave').hidden = find('lock').hidden = Boolean(value.open) || !value.user;
    find('admin').hidden = !value.administrator;
    find('study').hidden = !value.organiser;
    find('reading').hidden = !value.reader;
  }
  element.lightboxHeader = { update: draw };
  draw();
}
