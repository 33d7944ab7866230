// OpenAI's official JavaScript SDK, used as a user would: configured by nothing
// but the environment. See report.mjs for what it prints.
import OpenAI from 'openai';
import { Report } from './report.mjs';

const model = 'gpt-5-mini';
const r = new Report('js/openai');
const client = new OpenAI({ fetch: r.fetch });
const ask = (model, step) => ({ model, messages: [{ role: 'user', content: r.prompt(step) }] });

await r.done('models', async () => (await client.models.list()).data.map((m) => m.id).join(' '));

await r.done('chat', async () => {
  const answer = await client.chat.completions.create(ask(model, 'chat'));
  return answer.choices[0].message.content;
});

await r.done('stream', async () => {
  const events = await client.chat.completions.create({
    ...ask(model, 'stream'),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let event = 0;
  for await (const e of events) {
    const piece = e.choices[0]?.delta?.content ?? '';
    text += piece;
    r.print({ step: 'stream', event: ++event, ok: true, text: piece });
  }
  return text;
});

await r.expect('error', 400, () => client.chat.completions.create(ask('error-400', 'error')));
await r.expect('rate-limit', 429, () =>
  client.chat.completions.create(ask('error-429', 'rate-limit'), { maxRetries: 0 }),
);

await r.done('responses', async () => {
  const answer = await client.responses.create({ model, input: r.prompt('responses') });
  return answer.output_text;
});

await r.done('responses-stream', async () => {
  const events = await client.responses.create({ model, input: r.prompt('responses-stream'), stream: true });
  let text = '';
  let event = 0;
  for await (const e of events) {
    const piece = e.type === 'response.output_text.delta' ? e.delta : '';
    text += piece;
    r.print({ step: 'responses-stream', event: ++event, ok: true, text: piece });
  }
  return text;
});

await r.done('embeddings', async () => {
  const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'embed this' });
  return vectors.data[0].embedding.length > 0 ? 'vector' : '';
});

await r.exit();
