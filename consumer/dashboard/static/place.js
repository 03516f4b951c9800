// The place in the page: #/view?parameter=value. Every view can be linked to.

export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path, parameters: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

export function link(view, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  return `#/${view}${query && `?${query}`}`;
}

// The same place with some parameters changed. An empty parameter is removed.
export function linkHere(changes) {
  const { view, parameters } = here();
  return link(view, { ...parameters, ...changes });
}

export function go(hash, { replacing = false } = {}) {
  if (!replacing) location.hash = hash;
  else {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}
