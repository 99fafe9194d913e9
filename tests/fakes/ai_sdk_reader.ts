// Reads streams with the real `ai` package: recorded ones, or those of a service that runs. The
// example of docs/ai-service.md stands before this text. Standard input is {name: Scenario}, standard
// output what the SDK made of each.

import { AbstractChat, readUIMessageStream, type ChatState } from "ai";

type Scenario = {
  frames?: string[]; // The answer to a question, as it was written.
  base?: string; // Or where the service answers.
  person?: Record<string, unknown>; // Who asks, and whom.
  says?: string;
  cut?: boolean; // Then the connection breaks.
  resumed?: string[]; // The answer to the resumption.
  again?: boolean; // Another question follows.
  turn?: string; // Known from before the page was loaded: nothing is asked.
  kept?: UIMessage; // What a reader without a chat has of the message.
};

class State implements ChatState<UIMessage> {
  status = "ready" as const;
  error: Error | undefined = undefined;
  messages: UIMessage[] = [];
  pushMessage = (message: UIMessage) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index: number, message: UIMessage) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };
  snapshot = <T>(thing: T): T => structuredClone(thing);
}

class Chat extends AbstractChat<UIMessage> {}

function body(frames: string[], cut: boolean): ReadableStream<Uint8Array> {
  const rest = frames.map((frame) => new TextEncoder().encode(frame));
  return new ReadableStream({
    pull(controller) {
      const frame = rest.shift();
      if (frame) controller.enqueue(frame);
      // What Chromium says when a connection breaks.
      else if (cut) controller.error(new TypeError("network error"));
      else controller.close();
    },
  });
}

const PERSON = { project_id: 7, user_id: 3 };

// As useChat does it.
async function chat(scenario: Scenario) {
  const requests: unknown[] = [];
  const kept = new Map<string, string>(scenario.turn ? [["turn", scenario.turn]] : []);
  const send = async (url: unknown, init?: RequestInit) => {
    const sent = init?.body ? JSON.parse(String(init.body)) : null;
    const key = new Headers(init?.headers).get("idempotency-key");
    requests.push({ method: init?.method, url, body: sent, key });
    if (scenario.base) return fetch(String(url), init);
    const cut = init?.method === "POST" && scenario.cut === true;
    const frames = init?.method === "POST" ? scenario.frames! : scenario.resumed!;
    return new Response(body(frames, cut), { headers: { "x-turn-id": "turn-1" } });
  };
  const ends: unknown[] = [];
  let made = 0;
  const asked = new Chat({
    id: "chat-1",
    generateId: () => (scenario.base ? crypto.randomUUID() : `question-${++made}`),
    state: new State(),
    transport: turnTransport({
      base: scenario.base ?? "https://api.test",
      person: { ...PERSON, ...scenario.person },
      fetch: send as typeof fetch,
      kept: { get: (key) => kept.get(key), set: (key, value) => kept.set(key, value) },
    }),
    onFinish: ({ isAbort, isDisconnect, isError, finishReason }) => {
      ends.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null });
    },
  });
  if (!scenario.turn) await asked.sendMessage({ text: scenario.says ?? "Hi" });
  if (scenario.again) await asked.sendMessage({ text: "And?" });
  if (scenario.resumed || (scenario.base && scenario.turn)) await asked.resumeStream();
  const messages = asked.messages.filter((message) => message.role === "assistant");
  const error = asked.error?.message ?? null;
  return { messages, requests, ends, status: asked.status, error, turn: kept.get("turn") };
}

// As whoever reads a stream by himself does it: on from the message that he has.
async function read(scenario: Scenario, turn: string) {
  const transport = turnTransport({
    base: scenario.base ?? "https://api.test",
    person: PERSON,
    fetch: scenario.base ? fetch : async () => new Response(body(scenario.frames!, false)),
    kept: { get: () => turn, set: () => {} },
  });
  const stream = await transport.reconnectToStream({ chatId: "chat-1" });
  const errors: string[] = [];
  let last: UIMessage | undefined = scenario.kept;
  for await (const message of readUIMessageStream({
    message: scenario.kept,
    stream: stream!,
    onError: (error) => errors.push((error as Error).message),
  })) last = message;
  return { message: last, errors };
}

let input = "";
for await (const part of process.stdin) input += part;
const told: Record<string, unknown> = {};
for (const [name, scenario] of Object.entries<Scenario>(JSON.parse(input))) {
  const asked = await chat(scenario);
  told[name] = { chat: asked, read: asked.turn ? await read(scenario, asked.turn) : null };
}
console.log(JSON.stringify(told));
