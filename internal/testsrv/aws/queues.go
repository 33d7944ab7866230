package aws

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Queue is one of SQS's.
type Queue struct {
	Name       string
	Attributes map[string]string
	Tags       map[string]string
	Messages   []string
}

// Log is a log group.
type Log struct {
	Tags map[string]string
	Days int // 0: for ever
}

// json is the protocol of SQS and Logs: an object in, an object out.
func (s *Server) json(w http.ResponseWriter, r *http.Request, service, action string, do func(action string, in map[string]any) (any, *fault)) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	in := map[string]any{}
	var out any
	f := refuse(403, "AccessDeniedException", "not the administrator")
	switch err := json.NewDecoder(r.Body).Decode(&in); {
	case err != nil:
		f = refuse(400, "SerializationException", "%v", err)
	case s.early(service, action):
		f = refuse(400, "ThrottlingException", "too early")
		if service == "sqs" {
			f = refuse(400, "com.amazonaws.sqs#QueueDeletedRecently", "wait a minute")
		}
	case s.isAdmin(r):
		out, f = do(action, in)
	}
	if f != nil {
		w.WriteHeader(f.status)
		out = map[string]string{"__type": f.code, "message": f.message}
	}
	if out == nil {
		out = struct{}{}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func text(in map[string]any, key string) string { v, _ := in[key].(string); return v }

func texts(in map[string]any, key string) map[string]string {
	out := map[string]string{}
	m, _ := in[key].(map[string]any)
	for k, v := range m {
		out[k], _ = v.(string)
	}
	return out
}

func (s *Server) sqs(action string, in map[string]any) (any, *fault) {
	name := text(in, "QueueName")
	if url := text(in, "QueueUrl"); url != "" {
		name = url[strings.LastIndexByte(url, '/')+1:]
	}
	if name == "" {
		return nil, refuse(400, "MissingParameter", "%s needs a queue", action)
	}
	q := s.Queues[name]
	if q == nil && action != "CreateQueue" {
		return nil, refuse(400, "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
	}
	url := map[string]string{"QueueUrl": s.URL + "/" + Account + "/" + name}
	switch action {
	case "CreateQueue":
		if q != nil {
			return nil, refuse(400, "com.amazonaws.sqs#QueueNameExists", "it is there")
		}
		q = &Queue{Name: name, Attributes: map[string]string{"VisibilityTimeout": "30", "MessageRetentionPeriod": "345600", "SqsManagedSseEnabled": "true"}, Tags: texts(in, "tags")}
		if f := s.setAttributes(q, texts(in, "Attributes")); f != nil {
			return nil, f
		}
		s.Queues[name] = q
		return url, nil
	case "GetQueueUrl":
		return url, nil
	case "SetQueueAttributes":
		return nil, s.setAttributes(q, texts(in, "Attributes"))
	case "GetQueueAttributes":
		a := maps.Clone(q.Attributes)
		a["ApproximateNumberOfMessages"] = strconv.Itoa(len(q.Messages))
		a["QueueArn"] = "arn:aws:sqs:eu-central-1:" + Account + ":" + name
		return map[string]any{"Attributes": a}, nil
	case "ListQueueTags":
		return map[string]any{"Tags": q.Tags}, nil
	case "TagQueue":
		for k, v := range texts(in, "Tags") {
			if len(k) > 128 || len(v) > 256 {
				return nil, refuse(400, "InvalidParameterValue", "the tag is too long")
			}
			q.Tags[k] = v
		}
		if len(q.Tags) > 50 {
			return nil, refuse(400, "InvalidParameterValue", "more than 50 tags")
		}
		return nil, nil
	case "DeleteQueue":
		delete(s.Queues, name)
		return nil, nil
	}
	return nil, refuse(400, "UnsupportedOperation", "%s is not played", action)
}

func (s *Server) setAttributes(q *Queue, a map[string]string) *fault {
	invalid := func(key string) *fault {
		return refuse(400, "com.amazonaws.sqs#InvalidAttributeValue", "Invalid value for the parameter %s.", key)
	}
	for k, v := range a {
		n, err := strconv.Atoi(v)
		switch k {
		case "VisibilityTimeout":
			if err != nil || n < 0 || n > 43200 {
				return invalid(k)
			}
		case "MessageRetentionPeriod":
			if err != nil || n < 60 || n > 1209600 {
				return invalid(k)
			}
		case "SqsManagedSseEnabled":
			if v != "true" && v != "false" {
				return invalid(k)
			}
		case "Policy":
			if policy(v) == nil {
				return invalid(k)
			}
		case "RedriveAllowPolicy":
			if !json.Valid([]byte(v)) {
				return invalid(k)
			}
		case "RedrivePolicy":
			var r struct {
				Target string `json:"deadLetterTargetArn"`
				Max    int    `json:"maxReceiveCount"`
			}
			if json.Unmarshal([]byte(v), &r) != nil || r.Max < 1 || r.Max > 1000 {
				return invalid(k)
			}
			if s.Queues[r.Target[strings.LastIndexByte(r.Target, ':')+1:]] == nil {
				return refuse(400, "InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.", v)
			}
		default:
			return refuse(400, "com.amazonaws.sqs#InvalidAttributeName", "Unknown Attribute %s.", k)
		}
	}
	maps.Copy(q.Attributes, a)
	return nil
}

func (s *Server) logs(action string, in map[string]any) (any, *fault) {
	name := text(in, "logGroupName")
	switch action {
	case "DescribeLogGroups":
		groups := []map[string]any{}
		for _, n := range slices.Sorted(maps.Keys(s.Logs)) {
			if strings.HasPrefix(n, text(in, "logGroupNamePrefix")) {
				g := map[string]any{"logGroupName": n, "arn": logARN(n) + ":*"}
				if d := s.Logs[n].Days; d > 0 {
					g["retentionInDays"] = d
				}
				groups = append(groups, g)
			}
		}
		return map[string]any{"logGroups": groups}, nil
	case "CreateLogGroup":
		if s.Logs[name] != nil {
			return nil, refuse(400, "ResourceAlreadyExistsException", "it is there")
		}
		s.Logs[name] = &Log{Tags: texts(in, "tags")}
		return nil, nil
	case "ListTagsForResource":
		for n, g := range s.Logs {
			if logARN(n) == text(in, "resourceArn") {
				return map[string]any{"tags": g.Tags}, nil
			}
		}
		return nil, refuse(400, "ResourceNotFoundException", "there is none")
	}
	if s.Logs[name] == nil {
		return nil, refuse(400, "ResourceNotFoundException", "there is none")
	}
	switch action {
	case "PutRetentionPolicy":
		days, _ := in["retentionInDays"].(float64)
		if !slices.Contains([]int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731}, int(days)) {
			return nil, refuse(400, "InvalidParameterException", "not such a number of days")
		}
		s.Logs[name].Days = int(days)
	case "DeleteLogGroup":
		delete(s.Logs, name)
	default:
		return nil, refuse(400, "UnknownOperationException", "%s is not played", action)
	}
	return nil, nil
}

func logARN(name string) string {
	return "arn:aws:logs:eu-central-1:" + Account + ":log-group:" + name
}
