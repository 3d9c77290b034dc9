// LangChain's client.
import assert from 'node:assert/strict';
import { AIMessage, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { z } from 'zod';
import { braces, idle, model, url } from './lib.mjs';
import { Verdict } from './openai-structured.mjs';

const chat = (fields = {}, modelKwargs = {}) => new ChatOpenAI({
  model, temperature: 0, maxRetries: 0, apiKey: 'unused', configuration: { baseURL: `${url}/v1` }, modelKwargs, ...fields,
});
const plain = { enable_thinking: false };
const add = tool(({ a, b }) => a + b, { name: 'add', description: 'add', schema: z.object({ a: z.number(), b: z.number() }) });
const judge = tool(({ answer }) => answer, { name: 'judge', description: 'judge', schema: Verdict });

export default {
  async 'invoke'() {
    const answer = await chat().invoke('What is 17 + 25?');
    assert.match(answer.content, /42/);
    assert.equal(answer.response_metadata.finish_reason, 'stop');
    assert.equal(answer.usage_metadata.total_tokens, answer.usage_metadata.input_tokens + answer.usage_metadata.output_tokens);
  },

  async 'a conversation'() {
    const answer = await chat().invoke([
      new SystemMessage('Answer.'), new HumanMessage('What is 1 + 1?'), new AIMessage('2'), new HumanMessage('What is 17 + 25?'),
    ]);
    assert.ok(answer.content);
  },

  async 'stream'() {
    let whole, pieces = 0;
    for await (const chunk of await chat().stream('What is 17 + 25?')) {
      pieces++;
      whole = whole ? whole.concat(chunk) : chunk;
    }
    assert.equal(whole.content, (await chat().invoke('What is 17 + 25?')).content);
    assert.ok(pieces > 3);
    assert.ok(whole.usage_metadata.output_tokens > 0, 'it asks for usage');
  },

  async 'a stream that is left frees the server'() {
    const endless = chat({ maxTokens: 4000 }, { ignore_eos: true });
    for await (const chunk of await endless.stream('What is 17 + 25?')) {
      assert.ok(chunk);
      break;
    }
    await idle();
  },

  async 'batch'() {
    const answers = await chat({ maxTokens: 8 }).batch(['One', 'Two', 'Three'].map((text) => [new HumanMessage(text)]));
    assert.equal(answers.length, 3);
  },

  async 'stop and logprobs'() {
    const answer = await chat({ logprobs: true, topLogprobs: 2, stop: ['42'] }).invoke('What is 17 + 25?');
    assert.ok(!answer.content.includes('42'));
    assert.ok(answer.response_metadata.logprobs.content.length > 0);
  },

  async 'withStructuredOutput'() {
    const structured = chat({ maxTokens: 300 }, plain).withStructuredOutput(Verdict, { name: 'verdict', method: 'jsonSchema' });
    assert.ok(Verdict.parse(await structured.invoke('What is 17 + 25?')));
  },

  async 'withStructuredOutput by a function'() {
    const structured = chat({ maxTokens: 300 }, plain)
      .withStructuredOutput(Verdict, { name: 'verdict', method: 'functionCalling', strict: true });
    assert.ok(Verdict.parse(await structured.invoke('What is 17 + 25?')));
  },

  async 'bindTools: the named function, with arguments that keep to their schema'() {
    const answer = await chat({ maxTokens: 60 }, braces).bindTools([add], { tool_choice: 'add' }).invoke('What is 17 + 25?');
    assert.equal(answer.tool_calls[0].name, 'add');
    assert.ok(Object.values(answer.tool_calls[0].args).every((n) => typeof n === 'number'));
  },

  async 'bindTools: strict arguments, and an answer to the result'() {
    const asked = [new HumanMessage('What is 17 + 25?')];
    const call = await chat({ maxTokens: 300 }, plain).bindTools([judge], { tool_choice: 'judge', strict: true }).invoke(asked);
    assert.ok(Verdict.parse(call.tool_calls[0].args));
    const result = new ToolMessage({ content: 'yes', tool_call_id: call.tool_calls[0].id });
    const answer = await chat({ maxTokens: 20 }, plain).bindTools([judge], { tool_choice: 'none' }).invoke([...asked, call, result]);
    assert.ok(answer.usage_metadata.output_tokens > 0);
  },

  async 'the responses API'() {
    const answer = await chat({ useResponsesApi: true }).invoke('What is 17 + 25?');
    assert.match(answer.text, /42/);
  },

  async 'completions'() {
    const llm = new OpenAI({ model, temperature: 0, maxTokens: 8, apiKey: 'unused', configuration: { baseURL: `${url}/v1` } });
    assert.ok((await llm.invoke('Once upon a time')).length > 0);
  },
};
