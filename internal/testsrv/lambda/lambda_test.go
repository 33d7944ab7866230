package lambda_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/lambda"
)

// function asks for events with nothing but HTTP, as the documentation has it,
// and does what each says: "echo …", "fail …", "stale", "silent", "huge".
func function(addr string) {
	api := "http://" + addr + "/2018-06-01/runtime/invocation/"
	last := "none"
	for {
		res, err := http.Get(api + "next")
		if err != nil || res.StatusCode != http.StatusOK {
			return
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		id := res.Header.Get("Lambda-Runtime-Aws-Request-Id")
		post := func(id, what, contentType, body string) int {
			res, err := http.Post(api+id+"/"+what, contentType, strings.NewReader(body))
			if err != nil {
				return 0
			}
			res.Body.Close()
			return res.StatusCode
		}
		word, rest, _ := strings.Cut(string(body), " ")
		switch word {
		case "echo":
			post(id, "response", "application/json", rest)
		case "fail":
			post(id, "error", "application/json", `{"errorType":"T","errorMessage":"`+rest+`"}`)
		case "untyped":
			post(id, "error", "application/json", `{}`)
		case "stale":
			if post(last, "response", "application/json", "x") == http.StatusBadRequest {
				post(id, "response", "application/json", "refused")
			}
		case "huge":
			post(id, "response", "application/json", strings.Repeat("x", 7<<20))
		}
		last = id
	}
}

func TestRuntime(t *testing.T) {
	r, err := lambda.Start()
	if err != nil {
		t.Fatal(err)
	}
	go function(r.Addr)
	invoke := func(event string) (string, error) {
		b, err := r.Invoke(t.Context(), []byte(event), time.Second)
		return string(b), err
	}
	for range 3 {
		if got, err := invoke("echo hello"); err != nil || got != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	f := new(lambda.Failure)
	if _, err := invoke("fail it"); !errors.As(err, &f) || f.Type != "T" || f.Message != "it" {
		t.Errorf("%v", err)
	}
	if _, err := invoke("untyped"); !errors.Is(err, lambda.ErrProtocol) {
		t.Errorf("%v", err)
	}
	if got, err := invoke("stale"); err != nil || got != "refused" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := invoke("silent"); !errors.Is(err, lambda.ErrProtocol) {
		t.Errorf("%v", err)
	}
	if _, err := invoke("huge"); !errors.As(err, &f) {
		t.Errorf("%v", err)
	}
	if got, err := invoke("echo last"); err != nil || got != "last" {
		t.Errorf("%q, %v", got, err)
	}
	r.Close()
	if _, err := invoke("echo more"); err == nil {
		t.Error("answered after its end")
	}
}

func TestNobodyThere(t *testing.T) {
	r, err := lambda.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Invoke(ctx, nil, time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
