// Command openai uses OpenAI's official Go SDK as a user would: configured by
// nothing but the environment. See package report for what it prints.
package main

import (
	"context"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"github.com/litentry/agentkeys/e2e/sdk/go/report"
)

const model = "gpt-5-mini"

func main() {
	ctx := context.Background()
	r := report.New("go/openai")
	client := openai.NewClient(option.WithMiddleware(r.Middleware))

	ask := func(model, step string) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{
			Model:    model,
			Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(r.Prompt(step))},
		}
	}

	list, err := client.Models.List(ctx)
	var ids []string
	if err == nil {
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
	}
	r.Done("models", strings.Join(ids, " "), err)

	answer, err := client.Chat.Completions.New(ctx, ask(model, "chat"))
	text := ""
	if err == nil && len(answer.Choices) > 0 {
		text = answer.Choices[0].Message.Content
	}
	r.Done("chat", text, err)

	stream(ctx, r, client, ask(model, "stream"))

	_, err = client.Chat.Completions.New(ctx, ask("error-400", "error"))
	r.Expect("error", 400, err)
	_, err = client.Chat.Completions.New(ctx, ask("error-429", "rate-limit"), option.WithMaxRetries(0))
	r.Expect("rate-limit", 429, err)

	input := func(step string) responses.ResponseNewParams {
		return responses.ResponseNewParams{
			Model: model,
			Input: responses.ResponseNewParamsInputUnion{OfString: param.NewOpt(r.Prompt(step))},
		}
	}
	resp, err := client.Responses.New(ctx, input("responses"))
	text = ""
	if err == nil {
		text = resp.OutputText()
	}
	r.Done("responses", text, err)
	streamResponses(ctx, r, client, input("responses-stream"))

	vectors, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: "text-embedding-3-small",
		Input: openai.EmbeddingNewParamsInputUnion{OfString: param.NewOpt("embed this")},
	})
	text = ""
	if err == nil && len(vectors.Data) > 0 && len(vectors.Data[0].Embedding) > 0 {
		text = "vector"
	}
	r.Done("embeddings", text, err)
	r.Exit()
}

func stream(ctx context.Context, r *report.Report, client openai.Client, q openai.ChatCompletionNewParams) {
	q.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)}
	events := client.Chat.Completions.NewStreaming(ctx, q)
	text, n := "", 0
	for events.Next() {
		piece := ""
		if e := events.Current(); len(e.Choices) > 0 {
			piece = e.Choices[0].Delta.Content
		}
		n++
		text += piece
		r.Print(report.Step{Step: "stream", Event: n, OK: true, Text: piece})
	}
	r.Done("stream", text, events.Err())
}

func streamResponses(ctx context.Context, r *report.Report, client openai.Client, q responses.ResponseNewParams) {
	events := client.Responses.NewStreaming(ctx, q)
	text, n := "", 0
	for events.Next() {
		n++
		piece := ""
		if e := events.Current(); e.Type == "response.output_text.delta" {
			piece = e.Delta
		}
		text += piece
		r.Print(report.Step{Step: "responses-stream", Event: n, OK: true, Text: piece})
	}
	r.Done("responses-stream", text, events.Err())
}
