// Anthropic's official JavaScript SDK, used as a user would: configured by
// nothing but the environment. See report.mjs for what it prints.
import Anthropic from '@anthropic-ai/sdk';
import { Report } from './report.mjs';

const model = 'claude-haiku-4-5';
const r = new Report('js/anthropic');
const client = new Anthropic({ fetch: r.fetch });
const messages = (step) => [{ role: 'user', content: r.prompt(step) }];
const ask = (model, step) => ({ model, max_tokens: 64, messages: messages(step) });

await r.done('models', async () => (await client.models.list()).data.map((m) => m.id).join(' '));

await r.done('chat', async () => (await client.messages.create(ask(model, 'chat'))).content[0].text);

await r.done('stream', async () => {
  const events = await client.messages.create({ ...ask(model, 'stream'), stream: true });
  let text = '';
  let event = 0;
  for await (const e of events) {
    const piece = e.delta?.text ?? '';
    text += piece;
    r.print({ step: 'stream', event: ++event, ok: true, text: piece });
  }
  return text;
});

await r.expect('error', 400, () => client.messages.create(ask('error-400', 'error')));
await r.expect('rate-limit', 429, () => client.messages.create(ask('error-429', 'rate-limit'), { maxRetries: 0 }));

await r.done('count', async () =>
  String((await client.messages.countTokens({ model, messages: messages('count') })).input_tokens),
);

await r.exit();
