// Models, and how the server says no.
import assert from 'node:assert/strict';
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError, RateLimitError, UnprocessableEntityError } from 'openai';
import { calling, client, connect, endless, engine, guardedURL, key, model, question, until } from './lib.mjs';

const guarded = (apiKey) => connect({ baseURL: `${guardedURL}/v1`, apiKey });

export default {
  async 'models.list names the model'() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.deepEqual(ids, [model]);
  },

  async 'models.retrieve'() {
    assert.equal((await client.models.retrieve(model)).id, model);
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

  async 'no such function: BadRequestError'() {
    const tool_choice = { type: 'function', function: { name: 'divide' } };
    await assert.rejects(client.chat.completions.create({ ...calling, tool_choice }), (err) => {
      assert.ok(err instanceof BadRequestError);
      assert.equal(err.param, 'tool_choice');
      assert.match(err.message, /divide/);
      return true;
    });
  },

  async 'a body that is no JSON: BadRequestError'() {
    const response = await fetch(`${client.baseURL}/chat/completions`, { method: 'POST', body: '{"model":' });
    assert.equal(response.status, 400);
    const { error } = await response.json();
    assert.equal(error.type, 'invalid_request_error');
    assert.ok(error.message);
  },

  async 'a wrong field of every endpoint: BadRequestError that names it'() {
    for (const [create, param] of [
      [() => client.completions.create({ model, prompt: 'a', max_tokens: -1 }), 'max_tokens'],
      [() => client.responses.create({ model, input: 'a', temperature: 'hot' }), 'temperature'],
      [() => client.chat.completions.create({ ...question, top_p: 2 }), 'top_p'],
      [() => client.chat.completions.create({ ...question, messages: [{ role: 'nobody', content: 'a' }] }), /^messages/],
    ]) {
      await assert.rejects(create(), (err) => {
        assert.ok(err instanceof BadRequestError || err instanceof UnprocessableEntityError);
        param instanceof RegExp ? assert.match(err.param, param) : assert.equal(err.param, param);
        return true;
      });
    }
  },

  async 'a deadline: an error that the client does not retry'() {
    const late = { headers: { 'X-Request-Timeout': '0.05' }, maxRetries: 2 };
    await assert.rejects(client.chat.completions.create({ ...endless, stream: false }, late), (err) => {
      assert.equal(err.status, 504);
      assert.equal(err.code, 'deadline_exceeded');
      return true;
    });
    const read = async () => {
      for await (const _ of await client.chat.completions.create(endless, late));
    };
    await assert.rejects(read, (err) => err.code === 'deadline_exceeded');
  },

  async 'embeddings: BadRequestError that says what the model is for'() {
    await assert.rejects(client.embeddings.create({ model, input: 'a' }), (err) => {
      assert.ok(err instanceof BadRequestError);
      assert.match(err.message, /generates text/);
      return true;
    });
  },

  async 'no such endpoint: NotFoundError'() {
    await assert.rejects(client.get('/nothing/of/the/kind'), NotFoundError);
  },

  async 'a wrong key: AuthenticationError'() {
    for (const ask of [(c) => c.models.list(), (c) => c.chat.completions.create(question)]) {
      await assert.rejects(ask(guarded('wrong')), (err) => {
        assert.ok(err instanceof AuthenticationError);
        assert.equal(err.status, 401);
        assert.equal(err.code, 'invalid_api_key');
        return true;
      });
    }
  },

  async 'no key'() {
    const response = await fetch(`${guardedURL}/v1/models`);
    assert.equal(response.status, 401);
    const { error } = await response.json();
    assert.ok(error.message);
  },

  async 'the right key'() {
    const answer = await guarded(key).chat.completions.create(question);
    assert.match(answer.choices[0].message.content, /42/);
  },

  async 'too many requests: RateLimitError, and a client that tries again gets through'() {
    const authorization = { authorization: `Bearer ${key}` };
    const controller = new AbortController();
    const held = [0, 1].map(() =>
      guarded(key).chat.completions.create({ ...endless, stream: false }, { signal: controller.signal }).catch((err) => err));
    await until(async () => {
      const { running, waiting } = await engine(guardedURL, authorization);
      return running === 1 && waiting === 1;
    });
    await assert.rejects(guarded(key).chat.completions.create(question), (err) => {
      assert.ok(err instanceof RateLimitError);
      assert.equal(err.status, 429);
      assert.ok(err.message);
      return true;
    });
    const patient = connect({ baseURL: `${guardedURL}/v1`, apiKey: key, maxRetries: 10 });
    const answer = patient.chat.completions.create(question);
    setTimeout(() => controller.abort(), 100);
    assert.match((await answer).choices[0].message.content, /42/);
    for (const err of await Promise.all(held)) assert.ok(err instanceof OpenAI.APIUserAbortError);
  },
};
