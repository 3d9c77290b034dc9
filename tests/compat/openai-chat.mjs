// Conversations by the official client.
import assert from 'node:assert/strict';
import { APIUserAbortError } from 'openai';
import { client, endless, engine, idle, question, until } from './lib.mjs';

const chosen = { ...question, temperature: 1, seed: 5, max_tokens: 12 };

export default {
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

  async 'reasoning on and off'() {
    const ask = (extra) => client.chat.completions.create({ ...question, max_tokens: 60, ...extra });
    const [off, none] = await Promise.all([ask({ enable_thinking: false }), ask({ reasoning_effort: 'none' })]);
    assert.deepEqual(off.choices[0].message, none.choices[0].message);
    assert.equal(none.usage.completion_tokens_details.reasoning_tokens, 0);
  },

  async 'a stream has the log-probabilities of the answer'() {
    const request = { ...question, logprobs: true, top_logprobs: 2 };
    const plain = await client.chat.completions.create(request);
    const final = await client.chat.completions.stream(request).finalChatCompletion();
    assert.deepEqual(final.choices[0].logprobs.content, plain.choices[0].logprobs.content);
  },

  async 'n choices, each with its index'() {
    const answer = await client.chat.completions.create({ ...chosen, n: 3 });
    assert.deepEqual(answer.choices.map(({ index }) => index), [0, 1, 2]);
    assert.ok(answer.choices.every(({ message }) => message.role === 'assistant'));
    const again = await client.chat.completions.create({ ...chosen, n: 3 });
    assert.deepEqual(again.choices, answer.choices, 'the seed is the same');
  },

  async 'n choices of a stream are those of the answer'() {
    const plain = await client.chat.completions.create({ ...chosen, n: 2 });
    const final = await client.chat.completions.stream({ ...chosen, n: 2 }).finalChatCompletion();
    assert.deepEqual(
      final.choices.map(({ message, finish_reason }) => [message.content ?? '', finish_reason]),
      plain.choices.map(({ message, finish_reason }) => [message.content ?? '', finish_reason]),
    );
  },

  async 'stop ends the answer before it'() {
    const { choices: [whole] } = await client.chat.completions.create(question);
    const stop = whole.message.content.slice(-3);
    for (const stops of [stop, ['nowhere in it', stop]]) {
      const { choices: [choice] } = await client.chat.completions.create({ ...question, stop: stops });
      assert.equal(choice.finish_reason, 'stop');
      assert.equal(choice.message.content, whole.message.content.slice(0, whole.message.content.indexOf(stop)));
    }
  },

  async 'max_completion_tokens ends the answer'() {
    const answer = await client.chat.completions.create({ ...question, max_completion_tokens: 3 });
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.equal(answer.usage.completion_tokens, 3);
  },

  async 'content in parts, a developer message, a name, fields that mean nothing here'() {
    const messages = [
      { role: 'developer', content: 'Answer.' },
      { role: 'user', name: 'ada', content: [{ type: 'text', text: 'What is ' }, { type: 'text', text: '17 + 25?' }] },
    ];
    const answer = await client.chat.completions.create({
      ...question, messages, user: 'u', metadata: { a: 'b' }, store: false, service_tier: 'auto',
    });
    assert.ok(answer.choices[0].message.content);
  },
};
