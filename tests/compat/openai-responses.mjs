// The responses API by the official client.
import assert from 'node:assert/strict';
import { NotFoundError } from 'openai';
import { braces, client, input, model, parameters, question } from './lib.mjs';

export default {
  async 'responses.create answers'() {
    const response = await client.responses.create({ ...input, metadata: { purpose: 'test' } });
    assert.match(response.output_text, /42/);
    assert.equal(response.status, 'completed');
    assert.deepEqual(response.metadata, { purpose: 'test' });
    assert.equal(response.output.at(-1).type, 'message');
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    const chat = await client.chat.completions.create(question);
    assert.equal(response.output_text, chat.choices[0].message.content);
    assert.equal(response.usage.input_tokens, chat.usage.prompt_tokens);
  },

  async 'responses.stream accumulates'() {
    const plain = await client.responses.create(input);
    const stream = client.responses.stream(input);
    let sequence = 0, text = '';
    stream.on('response.output_text.delta', ({ delta, snapshot }) => assert.equal(snapshot, (text += delta)));
    for await (const event of stream) assert.equal(event.sequence_number, sequence++);
    const final = await stream.finalResponse();
    assert.equal(final.output_text, plain.output_text);
    assert.equal(text, plain.output_text);
    assert.equal(final.status, 'completed');
    assert.deepEqual(final.usage, plain.usage);
  },

  async 'a response goes on from another'() {
    const first = await client.responses.create({ ...input, instructions: 'Be brief.' });
    const second = await client.responses.create({
      model, temperature: 0, input: 'What is 1 + 1?', previous_response_id: first.id,
    });
    assert.equal(second.previous_response_id, first.id);
    const whole = await client.responses.create({
      model, temperature: 0,
      input: [{ role: 'user', content: input.input }, ...first.output, { role: 'user', content: 'What is 1 + 1?' }],
    });
    assert.equal(second.output_text, whole.output_text);
    assert.equal(second.usage.input_tokens, whole.usage.input_tokens);
  },

  async 'responses call functions'() {
    const tools = [{ type: 'function', name: 'add', parameters, strict: false }];
    const request = { ...input, ...braces, tools, tool_choice: 'required', max_output_tokens: 60 };
    const plain = await client.responses.create(request);
    const isCall = ({ type }) => type === 'function_call';
    const call = plain.output.find(isCall);
    assert.equal(call.name, 'add');
    assert.deepEqual([plain.status, call.status], ['incomplete', 'incomplete']);
    assert.equal(plain.incomplete_details.reason, 'max_output_tokens');
    const stream = client.responses.stream(request);
    let pieces = 0;
    stream.on('response.function_call_arguments.delta', () => pieces++);
    const final = await stream.finalResponse();
    assert.equal(final.output.find(isCall).arguments, call.arguments);
    assert.ok(pieces > 1);
    const next = await client.responses.create({
      ...request, tool_choice: 'none', max_output_tokens: 20, logit_bias: {}, previous_response_id: plain.id,
      input: plain.output.filter(isCall).map(({ call_id }) => ({ type: 'function_call_output', call_id, output: '42' })),
    });
    assert.equal(next.previous_response_id, plain.id);
  },

  async 'responses are stored, and deleted'() {
    const response = await client.responses.create(input);
    const stored = await client.responses.retrieve(response.id);
    assert.deepEqual(stored, response);
    await client.responses.delete(response.id);
    await assert.rejects(client.responses.retrieve(response.id), NotFoundError);
    await assert.rejects(client.responses.create({ ...input, previous_response_id: response.id }), (err) => {
      assert.ok(err instanceof NotFoundError);
      assert.equal(err.code, 'previous_response_not_found');
      return true;
    });
    const secret = await client.responses.create({ ...input, store: false });
    await assert.rejects(client.responses.retrieve(secret.id), NotFoundError);
  },
};
