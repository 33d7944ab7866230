package testsrv

import (
	"encoding/json"
	"iter"
	"net/http"
)

// inputs is a string or a list of them.
type inputs []string

func (in *inputs) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*in = inputs{text}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(in))
}

// conversation is a string or a list of messages.
type conversation []message

func (in *conversation) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*in = conversation{{Role: "user", Content: content(text)}}
		return nil
	}
	return json.Unmarshal(b, (*[]message)(in))
}

// responses serves OpenAI's Responses API.
func responses(s *Server, c *call) (answer, error) {
	var q struct {
		Model  string       `json:"model"`
		Input  conversation `json:"input"`
		Stream bool         `json:"stream"`
	}
	if err := c.decode(&q); err != nil {
		return answer{}, err
	}
	if q.Model == "" || len(q.Input) == 0 {
		return answer{}, &failure{status: http.StatusBadRequest, message: "Missing required parameter: 'model' or 'input'.", code: "missing_required_parameter"}
	}
	b := behaviourOf(q.Model)
	if err := b.refusal(c, q.Model, q.Stream); err != nil {
		return answer{}, err
	}
	r := s.reply(c, b, prompt(q.Input))
	about := object{
		"id": "resp_" + r.id, "object": "response", "created_at": created, "model": q.Model,
		"error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true,
		"temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": []any{}, "output": []any{}, "status": "in_progress", "usage": nil,
	}
	item := object{"id": "msg_" + r.id, "type": "message", "role": "assistant", "status": "in_progress", "content": []any{}}
	part := object{"type": "output_text", "text": r.text, "annotations": []any{}, "logprobs": []any{}}
	full := with(item, object{"status": "completed", "content": []any{part}})
	done := with(about, object{"status": "completed", "output": []any{full}, "usage": object{
		"input_tokens": r.input, "output_tokens": r.output, "total_tokens": r.input + r.output,
		"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0},
	}})
	if !q.Stream {
		return answer{body: done}, nil
	}
	return answer{events: responseEvents(s, c, b, r, about, item, part, full, done)}, nil
}

func responseEvents(s *Server, c *call, b behaviour, r reply, about, item, part, full, done object) iter.Seq[event] {
	return func(yield func(event) bool) {
		sequence := 0
		send := func(kind string, fields object) bool {
			e := with(fields, object{"type": kind, "sequence_number": sequence})
			sequence++
			return yield(event{name: kind, data: e})
		}
		in := func(fields object) object {
			return with(fields, object{"item_id": item["id"], "output_index": 0, "content_index": 0})
		}
		empty := with(part, object{"text": ""})
		if !send("response.created", object{"response": about}) ||
			!send("response.in_progress", object{"response": about}) ||
			!send("response.output_item.added", object{"output_index": 0, "item": item}) ||
			!send("response.content_part.added", in(object{"part": empty})) {
			return
		}
		k := 0
		for piece := range r.each() {
			if stop, ok := b.midstream(s, c, k); ok && stop.cut {
				yield(stop)
				return
			} else if ok {
				send("error", object{"code": "server_error", "message": "The server had an error while processing your request.", "param": nil})
				return
			}
			if !send("response.output_text.delta", in(object{"delta": piece, "logprobs": []any{}})) {
				return
			}
			k++
		}
		_ = send("response.output_text.done", in(object{"text": r.text, "logprobs": []any{}})) &&
			send("response.content_part.done", in(object{"part": part})) &&
			send("response.output_item.done", object{"output_index": 0, "item": full}) &&
			send("response.completed", object{"response": done})
	}
}
