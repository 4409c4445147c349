// Requests to the server. What goes wrong is a Problem, whose message is for people.

const TOKEN = "pixwire.token";
const RETRIES = 3;

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

export class Problem extends Error {
  /** `status` 0: the server was not reached. */
  constructor(status, title, detail, details = {}) {
    super(detail);
    this.status = status;
    this.title = title;
    this.details = details;
  }

  get needsToken() {
    return this.status === 401;
  }
}

const WORDS = {
  QUEUE_FULL: "The queue is full",
  QUOTA_EXCEEDED: "Too many jobs of yours wait",
  PAUSED: "The server is paused",
  DRAINING: "The server is stopping",
  FORBIDDEN: "Not allowed",
  INVALID_ARGUMENT: "A value cannot be used",
  DEADLINE_EXCEEDED: "Too late",
  WORKER_LOST: "The engine died",
  OUT_OF_MEMORY: "Not enough memory",
  CANCELLED: "Cancelled",
  JOB_NOT_FOUND: "No such job",
  JOB_EXPIRED: "The job's results are gone",
  PIPELINE_ERROR: "The model failed",
};

/** The name of an error code in words. */
export const words = (title) => WORDS[title] ?? sentence(title);

function sentence(title) {
  const text = title.toLowerCase().replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** fetch with the token; a refusal is thrown as a Problem. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token.get()) headers.set("authorization", `Bearer ${token.get()}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "UNREACHABLE", "the server cannot be reached; it may be starting again");
  }
  if (answer.ok) return answer;
  throw await problem(answer);
}

async function problem(answer) {
  try {
    const said = await answer.json();
    return new Problem(answer.status, said.title ?? "ERROR", said.detail ?? answer.statusText, said.details ?? {});
  } catch {
    return new Problem(answer.status, "ERROR", `the server answered ${answer.status} ${answer.statusText}`);
  }
}

export const get = async (path) => (await request(path)).json();

export const post = async (path, body, headers = {}) =>
  (
    await request(path, {
      method: "POST",
      body: body instanceof FormData ? body : JSON.stringify(body),
      headers: body instanceof FormData ? headers : { ...headers, "content-type": "application/json" },
    })
  ).json();

/** Submit a job: its status. The key makes it safe to send again when the connection was lost in between. */
export async function submit(body) {
  const random = crypto.getRandomValues(new Uint8Array(16));
  const key = `console-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  for (let tries = 1; ; tries += 1) {
    try {
      return await post("/v1/jobs", body, { "idempotency-key": key });
    } catch (error) {
      if (error.status !== 0 || tries >= RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 400 * tries));
    }
  }
}

export const jobPath = (job) => `/v1/jobs/${encodeURIComponent(job)}`;
export const cancelOwn = async (job) => (await request(jobPath(job), { method: "DELETE" })).json();
export const operate = (action, fields = {}) => post("/v1/admin", { action, ...fields });
