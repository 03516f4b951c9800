// Requests to the server that this page came from, and the meaning of its failures.

const SECONDS_MAX = 10;

let oldest = 0;

// Age in seconds of the oldest answer since the last call. The server keeps expensive answers for a while.
export function takeAge() {
  const age = oldest;
  oldest = 0;
  return age;
}

export class Unanswered extends Error {
  // kind: server, forbidden, database, slow, busy, request, absent or retired
  constructor(kind, hint = "", retired = null) {
    super(hint || kind);
    this.kind = kind;
    this.hint = hint;
    this.retired = retired;
  }
}

const TOKEN = "token";

let isAsked = true;

// Where API_TOKENS_FILE is set, the page asks for a token, and keeps it for this tab. Several requests may have been
// sent without the new one.
function hasNewToken(used) {
  if (sessionStorage.getItem(TOKEN) !== used) return true;
  const token = isAsked && window.prompt("This page needs a token:");
  isAsked = Boolean(token);
  if (token) sessionStorage.setItem(TOKEN, token.trim());
  return isAsked;
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  const token = sessionStorage.getItem(TOKEN);
  let response, answer;
  try {
    response = await fetch(`${path}${query && `?${query}`}`, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      signal: AbortSignal.timeout(SECONDS_MAX * 1000),
    });
    answer = await response.json();
  } catch {
    throw new Unanswered("server");
  }
  if (response.status === 401 && hasNewToken(token)) return ask(path, parameters);
  if (response.status === 403) throw new Unanswered("forbidden", answer.detail);
  if (!response.ok) throw new Unanswered(answer.error, answer.hint, answer.retired);
  oldest = Math.max(oldest, Number(response.headers.get("age")));
  return answer;
}
