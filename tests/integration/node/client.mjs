// What the official `openai` package for Node makes of a server, as one JSON object on standard output.
// Usage: node client.mjs BASE_URL MODEL

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const request = { model, messages: [{ role: "user", content: "Hi" }], temperature: 0, deterministic: true };

async function plain() {
  const reply = await client.chat.completions.create(request);
  const [choice] = reply.choices;
  return { text: choice.message.content, finish: choice.finish_reason, usage: reply.usage, id: reply._request_id };
}

async function streamed() {
  const chunks = [];
  const stream = await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) chunks.push(chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  return {
    text: choices.map((choice) => choice.delta.content ?? "").join(""),
    roles: choices.map((choice) => choice.delta.role ?? null),
    finishes: choices.map((choice) => choice.finish_reason),
    lastChoices: chunks.at(-1).choices.length,
    usage: chunks.at(-1).usage,
  };
}

async function helper() {
  const deltas = [];
  const stream = client.chat.completions.stream(request);
  stream.on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  return { text: final.choices[0].message.content, joined: deltas.join(""), finish: final.choices[0].finish_reason };
}

const Person = z.object({ name: z.string().max(12), age: z.number().int().min(0).max(120) });
const asking = { model, messages: [{ role: "user", content: "Tell me of a person." }], temperature: 0, max_tokens: 80, deterministic: true };

async function parsed() {
  const format = { ...asking, response_format: zodResponseFormat(Person, "person") };
  const plain = await client.chat.completions.parse(format);
  const streamed = await client.chat.completions.stream(format).finalChatCompletion();
  return { plain: plain.choices[0].message.parsed, streamed: streamed.choices[0].message.parsed };
}

async function called() {
  const given = [];
  const remember = zodFunction({ name: "remember", parameters: Person, function: (person) => (given.push(person), "done") });
  // A small model would not always call by itself.
  const forced = { ...asking, tools: [remember], tool_choice: { type: "function", function: { name: "remember" } } };
  const runner = client.chat.completions.runTools(forced);
  const roles = [];
  runner.on("message", (message) => roles.push(message.role));
  await runner.done();
  const streamed = await client.chat.completions.stream(forced).finalChatCompletion();
  const [call] = streamed.choices[0].message.tool_calls;
  return { given, roles, finish: streamed.choices[0].finish_reason, name: call.function.name, streamed: call.function.parsed_arguments };
}

async function responded() {
  const ask = { model, input: "Hi", temperature: 0, deterministic: true };
  const plain = await client.responses.create(ask);
  const stream = client.responses.stream(ask);
  const deltas = [];
  stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
  const final = await stream.finalResponse();
  return { text: plain.output_text, joined: deltas.join(""), final: final.output_text, status: final.status };
}

async function completion() {
  const reply = await client.completions.create({ model, prompt: "The capital of France is", temperature: 0, max_tokens: 4 });
  return { text: reply.choices[0].text };
}

async function models() {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  return { ids, context: (await client.models.retrieve(model)).context_length };
}

async function failed(call) {
  try {
    await call();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type, message: error.message };
  }
  return null;
}

async function aborted() {
  const stream = await client.chat.completions.create({ ...request, stream: true, max_tokens: 900, ignore_eos: true });
  let chunks = 0;
  for await (const _ of stream) {
    chunks += 1;
    if (chunks === 5) stream.controller.abort();
  }
  return { chunks };
}

const results = {
  plain: await plain(),
  streamed: await streamed(),
  helper: await helper(),
  parsed: await parsed(),
  called: await called(),
  responded: await responded(),
  completion: await completion(),
  models: await models(),
  unknownModel: await failed(() => client.chat.completions.create({ ...request, model: "gpt-4o" })),
  badValue: await failed(() => client.chat.completions.create({ ...request, temperature: 3 })),
  aborted: await aborted(),
  afterwards: await plain(),
};
process.stdout.write(JSON.stringify(results));
