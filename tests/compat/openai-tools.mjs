// Calls of functions by the official client.
import assert from 'node:assert/strict';
import { add, calling, client, question } from './lib.mjs';

export default {
  async 'a named function is called'() {
    const answer = await client.chat.completions.create({ ...calling, tool_choice: add });
    const [{ message, finish_reason }] = answer.choices;
    assert.equal(message.tool_calls[0].type, 'function');
    assert.equal(message.tool_calls[0].function.name, 'add');
    assert.match(message.tool_calls[0].id, /^call_/);
    const { a = 0, b = 0 } = JSON.parse(message.tool_calls[0].function.arguments);
    assert.ok([a, b].every((n) => typeof n === 'number'), 'the arguments keep to their schema');
    assert.equal(message.content, null);
    assert.equal(finish_reason, 'tool_calls');
    assert.equal(typeof answer.usage.completion_tokens_details.reasoning_tokens, 'number');
  },

  async 'a call streams what it says at once'() {
    const plain = (await client.chat.completions.create({ ...calling, tool_choice: add })).choices[0];
    const names = [];
    const stream = client.chat.completions.stream({ ...calling, tool_choice: add });
    stream.on('tool_calls.function.arguments.delta', ({ name }) => names.push(name));
    const final = (await stream.finalChatCompletion()).choices[0];
    assert.deepEqual(
      final.message.tool_calls.map((call) => [call.function.name, call.function.arguments]),
      plain.message.tool_calls.map((call) => [call.function.name, call.function.arguments]),
    );
    assert.equal(final.finish_reason, plain.finish_reason);
    assert.ok(names.length > 1 && names.every((name) => name === 'add'), 'the arguments came in pieces');
  },

  async 'the first delta of a call names it, the others add to its arguments'() {
    const seen = new Map();
    for await (const chunk of await client.chat.completions.create({ ...calling, tool_choice: add, stream: true })) {
      for (const call of chunk.choices[0].delta.tool_calls ?? []) {
        if (!seen.has(call.index)) {
          assert.deepEqual(call.function, { name: 'add', arguments: '' });
          assert.ok(call.id && call.type === 'function');
          seen.set(call.index, 0);
          continue;
        }
        assert.deepEqual(Object.keys(call).sort(), ['function', 'index']);
        assert.deepEqual(Object.keys(call.function), ['arguments']);
        seen.set(call.index, seen.get(call.index) + 1);
      }
    }
    assert.ok(seen.get(0) > 0);
  },

  async 'a call, its result, an answer'() {
    const { message } = (await client.chat.completions.create({ ...calling, tool_choice: add })).choices[0];
    const answer = await client.chat.completions.create({
      ...calling, tool_choice: 'auto', max_tokens: 20, logit_bias: {},
      messages: [...question.messages, message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '42' }],
    });
    assert.ok(answer.usage.prompt_tokens > 50);
  },

  async 'the helper that runs functions calls the named one'() {
    const called = [];
    const runner = client.chat.completions.runTools({
      ...question, enable_thinking: false, max_tokens: 200, tool_choice: { type: 'function', function: { name: 'pick' } },
      tools: [{
        type: 'function',
        function: {
          name: 'pick', description: 'pick a colour', strict: true, parse: JSON.parse,
          function: ({ colour }) => { called.push(colour); return colour; },
          parameters: {
            type: 'object', properties: { colour: { type: 'string', enum: ['red', 'green'] } },
            required: ['colour'], additionalProperties: false,
          },
        },
      }],
    });
    await runner.done();
    assert.equal(called.length, 1);
    assert.ok(['red', 'green'].includes(called[0]), `strict arguments keep to their schema, not ${called[0]}`);
  },
};
