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
  const answered = Date.parse(response.headers.get("date")) / 1000; // by the same clock
  if (answer.computed_at) oldest = Math.max(oldest, answered - answer.computed_at);
  return answer;
}
