// Command anthropic uses Anthropic's official Go SDK as a user would:
// configured by nothing but the environment. See package report for what it
// prints.
package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/litentry/agentkeys/e2e/sdk/go/report"
)

const model = "claude-haiku-4-5"

func main() {
	ctx := context.Background()
	r := report.New("go/anthropic")
	client := anthropic.NewClient(option.WithMiddleware(r.Middleware))

	messages := func(step string) []anthropic.MessageParam {
		return []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(r.Prompt(step)))}
	}
	ask := func(model, step string) anthropic.MessageNewParams {
		return anthropic.MessageNewParams{Model: anthropic.Model(model), MaxTokens: 64, Messages: messages(step)}
	}

	list, err := client.Models.List(ctx, anthropic.ModelListParams{})
	var ids []string
	if err == nil {
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
	}
	r.Done("models", strings.Join(ids, " "), err)

	answer, err := client.Messages.New(ctx, ask(model, "chat"))
	text := ""
	if err == nil && len(answer.Content) > 0 {
		text = answer.Content[0].Text
	}
	r.Done("chat", text, err)

	events := client.Messages.NewStreaming(ctx, ask(model, "stream"))
	text = ""
	for n := 1; events.Next(); n++ {
		piece := events.Current().Delta.Text
		text += piece
		r.Print(report.Step{Step: "stream", Event: n, OK: true, Text: piece})
	}
	r.Done("stream", text, events.Err())

	_, err = client.Messages.New(ctx, ask("error-400", "error"))
	r.Expect("error", 400, err)
	_, err = client.Messages.New(ctx, ask("error-429", "rate-limit"), option.WithMaxRetries(0))
	r.Expect("rate-limit", 429, err)

	count, err := client.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{Model: model, Messages: messages("count")})
	text = ""
	if err == nil {
		text = strconv.FormatInt(count.InputTokens, 10)
	}
	r.Done("count", text, err)
	r.Exit()
}
