// What the cases share: two clusters, and ways to ask them how they are.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

export const [, , url, guardedURL] = process.argv;
export const key = process.env.COMPAT_KEY; // of the guarded cluster, which runs one request and lets one wait
export const model = 'conclave-demo-moe';
export const client = connect();

export function connect(options) {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0, timeout: 60_000, ...options });
}

export const question = { model, temperature: 0, messages: [{ role: 'user', content: 'What is 17 + 25?' }] };
export const input = { model, temperature: 0, input: 'What is 17 + 25?' };
// Long enough to be aborted in the middle.
export const endless = { ...question, max_tokens: 4000, ignore_eos: true, stream: true };

export const parameters = { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } } };
export const add = { type: 'function', function: { name: 'add' } };
// The demo model never learnt to call functions: it is made to, and would think of nothing but braces then.
export const braces = { enable_thinking: false, logit_bias: { [await idOf('{')]: 100 } };
export const calling = {
  ...question, ...braces, max_tokens: 60, tool_choice: 'required',
  tools: ['add', 'multiply'].map((name) => ({ type: 'function', function: { name, description: name, parameters } })),
};

// idOf returns the id of the token that is text.
export async function idOf(text) {
  const response = await fetch(`${url}/tokenize`, { method: 'POST', body: JSON.stringify({ prompt: text }) });
  const { tokens } = await response.json();
  assert.equal(tokens.length, 1);
  return tokens[0];
}

// engine returns how many requests run and wait.
export async function engine(base = url, authorization = {}) {
  const response = await fetch(`${base}/conclave/v1/status`, { headers: authorization });
  const { engine } = await response.json();
  return Object.fromEntries(Object.entries(engine).map(([name, value]) => [name.toLowerCase(), value]));
}

export async function idle() {
  await until(async () => {
    const { running, waiting } = await engine();
    return running === 0 && waiting === 0;
  });
}

export async function until(condition) {
  for (const deadline = Date.now() + 10_000; !(await condition()); ) {
    assert.ok(Date.now() < deadline, `waited too long for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

// run runs groups of cases one after the other and returns how many failed.
export async function run(groups) {
  let passed = 0, failed = 0;
  for (const [group, cases] of Object.entries(groups)) {
    for (const [name, test] of Object.entries(cases)) {
      try {
        await test();
        passed++;
        console.log(`ok    ${group}: ${name}`);
      } catch (err) {
        failed++;
        console.log(`FAIL  ${group}: ${name}\n${err.stack}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed;
}
