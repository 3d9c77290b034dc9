// Texts by the official client.
import assert from 'node:assert/strict';
import { client, model } from './lib.mjs';

export default {
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

  async 'several prompts, n choices of each'() {
    const answer = await client.completions.create({ model, prompt: ['One', 'Two'], n: 2, max_tokens: 4, seed: 1 });
    assert.deepEqual(answer.choices.map(({ index }) => index), [0, 1, 2, 3]);
  },

  async 'fields of vLLM'() {
    const answer = await client.completions.create({
      model, prompt: 'Once upon a time', temperature: 0, max_tokens: 8, min_tokens: 8, return_token_ids: true,
      prompt_logprobs: 1, cache_salt: 'compat', priority: -1, bad_words: ['the'],
    });
    const [choice] = answer.choices;
    assert.equal(choice.token_ids.length, 8);
    assert.equal(choice.prompt_token_ids.length, answer.usage.prompt_tokens);
    assert.equal(choice.prompt_logprobs.length, answer.usage.prompt_tokens);
    assert.equal(typeof answer.usage.prompt_tokens_details.cached_tokens, 'number');
  },

  async 'stop'() {
    const request = { model, prompt: 'Once upon a time', temperature: 0, max_tokens: 24, ignore_eos: true };
    const whole = (await client.completions.create(request)).choices[0].text;
    const stop = whole.slice(10, 13);
    const [choice] = (await client.completions.create({ ...request, stop })).choices;
    assert.equal(choice.text, whole.slice(0, whole.indexOf(stop)));
    assert.equal(choice.finish_reason, 'stop');
  },

  async 'a stream with usage'() {
    const stream = await client.completions.create({
      model, prompt: 'One', max_tokens: 5, ignore_eos: true, stream: true, stream_options: { include_usage: true },
    });
    let usage = null;
    for await (const chunk of stream) usage = chunk.usage ?? usage;
    assert.equal(usage.completion_tokens, 5);
  },
};
