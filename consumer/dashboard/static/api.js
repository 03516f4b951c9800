// Questions to the server that this page came from, and what it means when it does not answer.

const SECONDS_MAX = 10;

export class Unanswered extends Error {
  // kind: server, database, slow, busy, request or absent
  constructor(kind, hint = "") {
    super(hint || kind);
    this.kind = kind;
    this.hint = hint;
  }
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  let response, answer;
  try {
    response = await fetch(`api/${path}${query && `?${query}`}`, {
      signal: AbortSignal.timeout(SECONDS_MAX * 1000),
    });
    answer = await response.json();
  } catch {
    throw new Unanswered("server");
  }
  if (!response.ok) throw new Unanswered(answer.error, answer.hint);
  return answer;
}
