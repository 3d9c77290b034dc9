// The clients that people use, against running clusters: node run.mjs URL GUARDED-URL, with COMPAT_KEY in the
// environment. Words after the addresses choose groups.
import { run } from './lib.mjs';

const groups = {};
for (const name of [
  'openai-chat', 'openai-completions', 'openai-tools', 'openai-structured', 'openai-responses', 'openai-errors',
  'langchain', 'vercel',
]) {
  const wanted = process.argv.slice(4);
  if (wanted.length === 0 || wanted.some((word) => name.includes(word))) {
    groups[name] = (await import(`./${name}.mjs`)).default;
  }
}
process.exitCode = (await run(groups)) > 0 ? 1 : 0;
