// Answers that keep to a schema, by the official client and its zod helpers. The schemas leave no text of free length:
// a small model would never end one.
import assert from 'node:assert/strict';
import { BadRequestError } from 'openai';
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { client, input, question } from './lib.mjs';

export const Verdict = z.object({
  answer: z.enum(['yes', 'no', 'maybe']),
  sure: z.boolean(),
  reasons: z.array(z.enum(['sum', 'product'])).max(2),
});
const asked = { ...question, enable_thinking: false, max_tokens: 300 };

export default {
  async 'json_schema by the zod helper'() {
    const answer = await client.chat.completions.parse({ ...asked, response_format: zodResponseFormat(Verdict, 'verdict') });
    const [{ message, finish_reason }] = answer.choices;
    assert.equal(finish_reason, 'stop');
    assert.deepEqual(Verdict.parse(JSON.parse(message.content)), message.parsed);
  },

  async 'json_schema, streamed'() {
    const stream = client.chat.completions.stream({ ...asked, response_format: zodResponseFormat(Verdict, 'verdict') });
    const final = await stream.finalChatCompletion();
    assert.ok(Verdict.parse(final.choices[0].message.parsed));
  },

  async 'json_schema behind reasoning'() {
    const answer = await client.chat.completions.parse({
      ...asked, enable_thinking: true, thinking_budget: 20, response_format: zodResponseFormat(Verdict, 'verdict'),
    });
    assert.ok(Verdict.parse(answer.choices[0].message.parsed));
  },

  async 'json_schema with $defs, anyOf and const'() {
    const schema = {
      type: 'object', required: ['shape'], additionalProperties: false,
      properties: { shape: { anyOf: [{ $ref: '#/$defs/circle' }, { type: 'null' }] } },
      $defs: {
        circle: {
          type: 'object', required: ['kind', 'size'], additionalProperties: false,
          properties: { kind: { const: 'circle' }, size: { enum: [1, 2, 3] } },
        },
      },
    };
    const answer = await client.chat.completions.create({
      ...asked, response_format: { type: 'json_schema', json_schema: { name: 'shape', strict: true, schema } },
    });
    const { shape } = JSON.parse(answer.choices[0].message.content);
    assert.ok(shape === null || (shape.kind === 'circle' && [1, 2, 3].includes(shape.size)));
  },

  async 'json_object is an object, as far as it goes'() {
    const answer = await client.chat.completions.create({ ...asked, response_format: { type: 'json_object' } });
    const [{ message, finish_reason }] = answer.choices;
    assert.match(message.content, /^\s*{/);
    if (finish_reason === 'stop') assert.equal(typeof JSON.parse(message.content), 'object');
  },

  async 'a schema that is none: BadRequestError'() {
    const response_format = { type: 'json_schema', json_schema: { name: 'x', strict: true, schema: { type: 'nonsense' } } };
    await assert.rejects(client.chat.completions.create({ ...asked, response_format }), (err) => {
      assert.ok(err instanceof BadRequestError);
      assert.match(err.param, /^response_format/);
      return true;
    });
  },

  async 'strict functions by the zod helper'() {
    const tool = zodFunction({ name: 'judge', parameters: Verdict });
    const answer = await client.chat.completions.parse({
      ...asked, tools: [tool], tool_choice: { type: 'function', function: { name: 'judge' } },
    });
    const [{ message }] = answer.choices;
    assert.ok(Verdict.parse(message.tool_calls[0].function.parsed_arguments));
  },

  async 'responses with a schema by the zod helper'() {
    const response = await client.responses.parse({
      ...input, enable_thinking: false, max_output_tokens: 300, text: { format: zodTextFormat(Verdict, 'verdict') },
    });
    assert.ok(Verdict.parse(response.output_parsed));
  },
};
