package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// ask is an agent's program, with nothing to go by but its environment:
//
//	ask [flags] METHOD SERVICE PATH
//
// It sends one request with its placeholder for the service and prints what
// the answer was, as
//
//	STATUS CODE      CODE is that of a problem of AgentKeys' own, or -
//	Retry-After: 7   if there is one
//	BODY
//
// Any answer is a success; no answer ends with 1.
func ask(args []string) int {
	f := flag.NewFlagSet("ask", flag.ExitOnError)
	body := f.String("d", "", "body; a chat request if the method is POST")
	url := f.String("url", "", "base URL in the place of the environment's")
	token := f.String("as", "", "placeholder in the place of the environment's; none for no credential")
	socket := f.Bool("socket", false, "use the agent's socket, without a placeholder")
	host := f.String("host", "", "Host header")
	origin := f.String("origin", "", "Origin header")
	model := f.String("model", "openai/gpt-5-mini", "model of the chat request")
	stream := f.Bool("stream", false, "ask for a stream")
	_ = f.Parse(args)
	if f.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: ask [flags] METHOD SERVICE PATH")
		return 2
	}
	method, service, path := f.Arg(0), f.Arg(1), f.Arg(2)
	name := strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
	if *url == "" {
		*url = os.Getenv("AGENTKEYS_" + name + "_URL")
	}
	if *token == "" {
		*token = os.Getenv(name + "_API_KEY")
	}
	client := &http.Client{Timeout: 20 * time.Second}
	if *socket {
		*url, *token = "http://agentkeys/"+service, "none"
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", os.Getenv("AGENTKEYS_SOCKET"))
		}}
	}
	if *body == "" && method == http.MethodPost {
		*body = fmt.Sprintf(`{"model":%q,"stream":%t,"max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`, *model, *stream)
	}
	req, err := http.NewRequest(method, *url+path, strings.NewReader(*body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *token != "none" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	if *body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if *origin != "" {
		req.Header.Set("Origin", *origin)
	}
	req.Host = *host
	resp, err := client.Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var problem struct{ Code any }
	code := "-"
	if resp.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(answer, &problem) == nil {
		code = fmt.Sprint(problem.Code)
	}
	fmt.Println(resp.StatusCode, code)
	if after := resp.Header.Get("Retry-After"); after != "" {
		fmt.Println("Retry-After:", after)
	}
	fmt.Println(string(bytes.TrimSpace(answer)))
	return 0
}
