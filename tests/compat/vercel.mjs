// Vercel's AI SDK, by its provider for compatible servers.
import assert from 'node:assert/strict';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { braces, idle, model, url } from './lib.mjs';
import { Verdict } from './openai-structured.mjs';

const conclave = createOpenAICompatible({
  name: 'conclave', baseURL: `${url}/v1`, apiKey: 'unused', includeUsage: true, supportsStructuredOutputs: true,
});
const asked = { model: conclave.chatModel(model), prompt: 'What is 17 + 25?', temperature: 0, maxRetries: 0 };
const plain = { conclave: { enable_thinking: false } };
const judge = () => tool({ description: 'judge', inputSchema: Verdict, strict: true, execute: async ({ answer }) => answer });

export default {
  async 'generateText'() {
    const { text, finishReason, usage } = await generateText(asked);
    assert.match(text, /42/);
    assert.equal(finishReason, 'stop');
    assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
  },

  async 'streamText'() {
    const result = streamText(asked);
    let text = '', pieces = 0;
    for await (const piece of result.textStream) (text += piece), pieces++;
    assert.equal(text, (await generateText(asked)).text);
    assert.ok(pieces > 3);
    assert.ok((await result.usage).outputTokens > 0);
  },

  async 'reasoning comes apart from text'() {
    const { text, reasoningText } = await generateText({ ...asked, providerOptions: { conclave: { enable_thinking: true } } });
    const off = await generateText({ ...asked, providerOptions: plain });
    assert.ok(!text.includes('<think>'));
    assert.equal(off.reasoningText, undefined);
    assert.ok(reasoningText === undefined || reasoningText.length > 0);
  },

  async 'a stream that is aborted frees the server'() {
    const controller = new AbortController();
    const result = streamText({
      ...asked, maxOutputTokens: 4000, providerOptions: { conclave: { ignore_eos: true } },
      abortSignal: controller.signal, onError() {},
    });
    for await (const part of result.fullStream) if (part.type.endsWith('-delta')) controller.abort();
    await idle();
  },

  async 'a wrong field: APICallError'() {
    await assert.rejects(generateText({ ...asked, temperature: -1 }), (err) => {
      assert.ok(APICallError.isInstance(err));
      assert.equal(err.statusCode, 400);
      assert.match(err.message, /temperature/);
      return true;
    });
  },

  async 'generateObject'() {
    const { object } = await generateObject({ ...asked, maxOutputTokens: 300, schema: Verdict, providerOptions: plain });
    assert.ok(Verdict.parse(object));
  },

  async 'streamObject'() {
    const result = streamObject({ ...asked, maxOutputTokens: 300, schema: Verdict, providerOptions: plain });
    for await (const partial of result.partialObjectStream) assert.equal(typeof partial, 'object');
    assert.ok(Verdict.parse(await result.object));
  },

  async 'generateText with an output of a schema'() {
    const { output } = await generateText({
      ...asked, maxOutputTokens: 300, output: Output.object({ schema: Verdict }), providerOptions: plain,
    });
    assert.ok(Verdict.parse(output));
  },

  async 'tools: the named function is called'() {
    const add = tool({ description: 'add', inputSchema: z.object({ a: z.number(), b: z.number() }) });
    const { toolCalls } = await generateText({
      ...asked, maxOutputTokens: 60, tools: { add }, toolChoice: { type: 'tool', toolName: 'add' },
      providerOptions: { conclave: braces },
    });
    assert.equal(toolCalls[0].toolName, 'add');
    assert.ok(!toolCalls[0].invalid && typeof toolCalls[0].input.a === 'number');
  },

  async 'tools: a call with strict arguments, its result'() {
    const result = await generateText({
      ...asked, maxOutputTokens: 300, tools: { judge: judge() }, toolChoice: { type: 'tool', toolName: 'judge' },
      stopWhen: stepCountIs(1), providerOptions: plain,
    });
    assert.ok(Verdict.parse(result.toolCalls[0].input));
    assert.equal(result.toolResults[0].output, result.toolCalls[0].input.answer);
  },

  async 'tools: a streamed call'() {
    const result = streamText({
      ...asked, maxOutputTokens: 300, tools: { judge: judge() }, toolChoice: { type: 'tool', toolName: 'judge' },
      stopWhen: stepCountIs(1), providerOptions: plain,
    });
    let pieces = 0;
    for await (const part of result.fullStream) if (part.type === 'tool-input-delta') pieces++;
    const [call] = await result.toolCalls;
    assert.ok(Verdict.parse(call.input));
    assert.ok(pieces > 1);
  },

  async 'completions'() {
    const { text } = await generateText({ ...asked, model: conclave.completionModel(model), maxOutputTokens: 8 });
    assert.ok(text.length > 0);
  },
};
