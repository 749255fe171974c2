// Who this tab is: a token, kept as long as the tab is open. It comes by the address once, and does not stay in it.

const KEY = 'denrei.token';

/** The token, or null for a guest. */
export function findToken() {
  const url = new URL(location.href);
  const given = url.searchParams.get('token');
  if (given !== null) {
    keepToken(given);
    url.searchParams.delete('token');
    history.replaceState(history.state, '', url);
  }
  return sessionStorage.getItem(KEY);
}

/** Keeps a token; an empty one is forgotten. */
export function keepToken(token) {
  if (token.trim() === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token.trim());
}

/**
 * What a token says of its user, for display only: the server alone decides who it is, and may be told by settings to
 * read other claims.
 */
export function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')), (character) =>
      character.charCodeAt(0),
    );
    const { name, roles = [] } = JSON.parse(new TextDecoder().decode(bytes));
    return { name: typeof name === 'string' ? name : null, roles: [roles].flat() };
  } catch {
    return { name: null, roles: [] };
  }
}
