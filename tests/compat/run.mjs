// The official OpenAI client against a running cluster: node run.mjs URL
import assert from 'node:assert/strict';
import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai';

const url = process.argv[2];
const model = 'conclave-demo-moe';
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0, timeout: 60_000 });

const question = { model, temperature: 0, messages: [{ role: 'user', content: 'What is 17 + 25?' }] };
// Long enough to be aborted in the middle.
const endless = { ...question, max_tokens: 4000, ignore_eos: true, stream: true };

const tests = {
  async 'models.list names the model'() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.deepEqual(ids, [model]);
  },

  async 'models.retrieve'() {
    assert.equal((await client.models.retrieve(model)).id, model);
  },

  async 'chat answers'() {
    const answer = await client.chat.completions.create(question);
    assert.match(answer.choices[0].message.content, /42/);
    assert.equal(answer.choices[0].message.role, 'assistant');
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },

  async 'chat with logprobs'() {
    const answer = await client.chat.completions.create({ ...question, logprobs: true, top_logprobs: 3 });
    const { content } = answer.choices[0].logprobs;
    assert.equal(content.length, answer.usage.completion_tokens - 1, 'all but the token that ended the answer');
    for (const token of content) {
      assert.equal(token.top_logprobs.length, 3);
      assert.equal(token.top_logprobs[0].token, token.token, 'greedy takes the most likely token');
      assert.equal(Buffer.from(token.bytes).toString(), token.token);
    }
  },

  async 'stream with usage, by async iteration'() {
    const plain = await client.chat.completions.create(question);
    const stream = await client.chat.completions.create({
      ...question, stream: true, stream_options: { include_usage: true },
    });
    let text = '', finish = null, usage = null, pieces = 0;
    for await (const chunk of stream) {
      pieces++;
      assert.equal(chunk.object, 'chat.completion.chunk');
      text += chunk.choices[0]?.delta?.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      if (chunk.usage) {
        assert.deepEqual(chunk.choices, [], 'usage comes in a chunk of its own');
        usage = chunk.usage;
      }
    }
    assert.equal(text, plain.choices[0].message.content);
    assert.equal(finish, 'stop');
    assert.deepEqual(usage, plain.usage);
    assert.ok(pieces > 3, 'the answer came in pieces');
  },

  async 'the stream helper accumulates'() {
    const final = await client.chat.completions.stream(question).finalChatCompletion();
    assert.match(final.choices[0].message.content, /42/);
  },

  async 'abort in mid-stream frees the server'() {
    const stream = await client.chat.completions.create(endless);
    let seen = 0;
    for await (const chunk of stream) {
      assert.ok(chunk.choices.length > 0);
      if (++seen === 5) {
        assert.equal((await engine()).running, 1);
        stream.controller.abort();
      }
    }
    assert.ok(seen < 4000);
    await idle();
  },

  async 'abort by signal before the answer'() {
    const controller = new AbortController();
    const answer = client.chat.completions.create({ ...endless, stream: false }, { signal: controller.signal });
    await until(async () => (await engine()).running === 1);
    controller.abort();
    await assert.rejects(answer, APIUserAbortError);
    await idle();
  },

  async 'breaking out of the loop frees the server'() {
    for await (const chunk of await client.chat.completions.create(endless)) {
      assert.ok(chunk);
      break;
    }
    await idle();
  },

  async 'unknown model: NotFoundError'() {
    await assert.rejects(client.chat.completions.create({ ...question, model: 'gpt-4o' }), (err) => {
      assert.ok(err instanceof NotFoundError);
      assert.equal(err.status, 404);
      assert.equal(err.code, 'model_not_found');
      assert.equal(err.param, 'model');
      assert.match(err.message, /gpt-4o/);
      assert.ok(err.requestID);
      return true;
    });
  },

  async 'wrong field: BadRequestError that names it'() {
    await assert.rejects(client.chat.completions.create({ ...question, temperature: -1 }), (err) => {
      assert.ok(err instanceof BadRequestError);
      assert.equal(err.status, 400);
      assert.equal(err.type, 'invalid_request_error');
      assert.equal(err.param, 'temperature');
      return true;
    });
  },

  async 'wrong field in a stream: BadRequestError before it begins'() {
    const stream = client.chat.completions.create({ ...question, messages: [], stream: true });
    await assert.rejects(stream, BadRequestError);
  },

  async 'completions with logprobs'() {
    const prompt = 'Once upon a time';
    const answer = await client.completions.create({
      model, prompt, temperature: 0, max_tokens: 16, logprobs: 2, echo: true,
    });
    const [choice] = answer.choices;
    assert.ok(choice.text.startsWith(prompt) && choice.text.length > prompt.length);
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice.logprobs;
    assert.equal(tokens.join(''), choice.text);
    assert.equal(tokens.length, answer.usage.total_tokens);
    assert.equal(token_logprobs[0], null, 'nothing predicts the first token');
    assert.ok(token_logprobs.slice(1).every((p) => p <= 0));
    assert.equal(top_logprobs.length, tokens.length);
    assert.deepEqual(text_offset, tokens.map((_, i) => tokens.slice(0, i).join('').length));
  },

  async 'completions of token ids, streamed'() {
    const request = { model, prompt: [10, 20, 30], temperature: 0, max_tokens: 12, ignore_eos: true };
    const plain = await client.completions.create(request);
    let text = '';
    const stream = await client.completions.create({ ...request, stream: true });
    for await (const chunk of stream) text += chunk.choices[0].text;
    assert.equal(text, plain.choices[0].text);
    assert.equal(plain.usage.completion_tokens, 12);
    assert.equal(plain.choices[0].finish_reason, 'length');
  },

  async '16 requests at once say what one says'() {
    const one = (i) => client.completions.create({ model, prompt: `${i} and ${i} make`, temperature: 0, max_tokens: 24 });
    const range = [...Array(16).keys()];
    const alone = [];
    for (const i of range) alone.push((await one(i)).choices[0].text);
    const together = await Promise.all(range.map(one));
    assert.deepEqual(together.map((a) => a.choices[0].text), alone);
  },
};

// engine returns how many requests run and wait.
async function engine() {
  const response = await fetch(`${url}/conclave/v1/status`);
  const { engine } = await response.json();
  return Object.fromEntries(Object.entries(engine).map(([key, value]) => [key.toLowerCase(), value]));
}

async function idle() {
  await until(async () => {
    const { running, waiting } = await engine();
    return running === 0 && waiting === 0;
  });
}

async function until(condition) {
  for (const deadline = Date.now() + 10_000; !(await condition()); ) {
    assert.ok(Date.now() < deadline, `waited too long for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let passed = 0, failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    passed++;
    console.log(`ok    ${name}`);
  } catch (err) {
    failed++;
    console.log(`FAIL  ${name}\n${err.stack}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
