package aws

import (
	"io"
	"net/http"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Alarm is one of CloudWatch's: all that it was told, as it came.
type Alarm struct {
	Fields cbor.Map
	Tags   cbor.List
}

const alarmPrefix = "arn:aws:cloudwatch:eu-central-1:" + Account + ":alarm:"

// watch is CloudWatch: Smithy's RPC v2 with CBOR.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	action := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	in, f := cbor.Map{}, refuse(403, "AccessDenied", "not the administrator")
	if v, err := cbor.Decode(body); err == nil {
		in, _ = v.(cbor.Map)
	}
	out := cbor.Map{}
	switch {
	case s.early("cloudwatch", action):
		f = refuse(400, "Throttling", "too early")
	case s.isAdmin(r):
		out, f = s.alarms(action, in)
	}
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	if f != nil {
		w.WriteHeader(f.status)
		out = cbor.Map{"__type": cbor.String(f.code), "message": cbor.String(f.message)}
	}
	_, _ = w.Write(cbor.Encode(out))
}

func named(in cbor.Map, key string) string { v, _ := in[key].(cbor.String); return string(v) }

func (s *Server) alarms(action string, in cbor.Map) (cbor.Map, *fault) {
	switch action {
	case "PutMetricAlarm":
		name := named(in, "AlarmName")
		for _, key := range []string{"AlarmName", "ComparisonOperator", "EvaluationPeriods", "MetricName", "Namespace", "Period", "Statistic", "Threshold"} {
			if in[key] == nil {
				return nil, refuse(400, "ValidationError", "an alarm needs %s", key)
			}
		}
		tags, _ := in["Tags"].(cbor.List)
		if old := s.Alarms[name]; old != nil {
			tags = old.Tags // of an alarm that is there they are not changed
		}
		delete(in, "Tags")
		s.Alarms[name] = &Alarm{in, tags}
	case "DescribeAlarms":
		list := cbor.List{}
		names, _ := in["AlarmNames"].(cbor.List)
		for _, n := range names {
			if a := s.Alarms[string(n.(cbor.String))]; a != nil {
				fields := cbor.Map{"AlarmArn": cbor.String(alarmPrefix + string(n.(cbor.String)))}
				for k, v := range a.Fields {
					fields[k] = v
				}
				list = append(list, fields)
			}
		}
		return cbor.Map{"MetricAlarms": list}, nil
	case "ListTagsForResource":
		a := s.Alarms[strings.TrimPrefix(named(in, "ResourceARN"), alarmPrefix)]
		if a == nil {
			return nil, refuse(404, "ResourceNotFoundException", "there is none")
		}
		tags := a.Tags
		if tags == nil {
			tags = cbor.List{}
		}
		return cbor.Map{"Tags": tags}, nil
	case "DeleteAlarms":
		names, _ := in["AlarmNames"].(cbor.List)
		for _, n := range names {
			delete(s.Alarms, string(n.(cbor.String)))
		}
	default:
		return nil, refuse(400, "InvalidAction", "%s is not played", action)
	}
	return cbor.Map{}, nil
}
