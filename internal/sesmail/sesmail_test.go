package sesmail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/sesmail"
)

const bucket = "the-bucket"

// text is v as JSON.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type object = map[string]any

func s3Record(bucket, key string) object {
	return object{
		"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1", "eventName": "ObjectCreated:Put",
		"s3": object{"bucket": object{"name": bucket, "arn": "arn:aws:s3:::" + bucket}, "object": object{"key": key, "size": 5000, "sequencer": "0055AED6DCD90281E5"}},
	}
}

func notification(key string) string {
	return text(object{"Records": []any{s3Record(bucket, key)}})
}

func bridge(key string) string {
	return text(object{
		"version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": "Object Created", "source": "aws.s3", "account": "111122223333",
		"time": "2026-01-02T03:04:05Z", "region": "eu-central-1", "resources": []string{"arn:aws:s3:::" + bucket},
		"detail": object{"version": "0", "bucket": object{"name": bucket}, "object": object{"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "1"}, "reason": "PutObject"},
	})
}

func receipt(key string, recipients ...string) object {
	return object{
		"recipients": recipients, "spamVerdict": object{"status": "PASS"},
		"action": object{"type": "S3", "topicArn": "arn:aws:sns:eu-central-1:111122223333:t", "bucketName": bucket, "objectKey": key, "objectKeyPrefix": "inbound/"},
	}
}

func ses(key string, recipients ...string) string {
	return text(object{
		"notificationType": "Received", "receipt": receipt(key, recipients...),
		"mail": object{"source": "a@example.com", "messageId": "m1", "headers": []any{object{"name": "To", "value": "b@example.com"}, object{"name": "to", "value": "receipt"}}},
	})
}

func sns(body string) string {
	return text(object{"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": body, "Timestamp": "2026-01-02T03:04:05Z", "SignatureVersion": "1"})
}

func snsRecord(body string) string {
	return text(object{"Records": []any{object{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": object{"Type": "Notification", "MessageId": "m", "Message": body}}}})
}

func sqs(bodies ...string) string {
	var all []any
	for n, b := range bodies {
		all = append(all, object{"messageId": fmt.Sprint("q", n), "receiptHandle": "h", "body": b, "attributes": object{"ApproximateReceiveCount": "1"}, "eventSource": "aws:sqs"})
	}
	return text(object{"Records": all})
}

// show is a batch in a line.
func show(b sesmail.Batch) string {
	var all []string
	for _, i := range b.Items {
		s := i.ID.String() + i.Skip
		if i.Err != nil {
			s += "error"
		}
		if i.Recipients != nil {
			s += fmt.Sprint(i.Recipients)
		}
		if b.Queued {
			s = i.Message + ":" + s
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestShapes(t *testing.T) {
	test := text(object{"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-02T03:04:05Z", "Bucket": bucket, "RequestId": "1", "HostId": "2"})
	record := func(change func(object)) string {
		r := s3Record(bucket, "inbound/m1")
		change(r)
		return text(object{"Records": []any{r}})
	}
	for _, c := range []struct{ name, payload, want string }{
		{"S3", notification("inbound/m1"), "m1"},
		{"S3, several", text(object{"Records": []any{s3Record(bucket, "inbound/m1"), s3Record(bucket, "inbound/m2")}}), "m1 m2"},
		{"S3, none", `{"Records":[]}`, ""},
		{"S3, a prefix in the event's name", record(func(r object) { r["eventName"] = "s3:ObjectCreated:CompleteMultipartUpload" }), "m1"},
		{"S3, removed", record(func(r object) { r["eventName"] = "ObjectRemoved:Delete" }), "not-created"},
		{"S3, replicated", record(func(r object) { r["eventName"] = "ObjectCreatedX:Put" }), "not-created"},
		{"S3, unknown fields", record(func(r object) { r["new"], r["glacierEventData"] = []int{1}, object{"x": nil} }), "m1"},
		{"test", test, "test-event"},
		{"EventBridge", bridge("inbound/m1"), "m1"},
		{"EventBridge, deleted", strings.Replace(bridge("inbound/m1"), "Object Created", "Object Deleted", 1), "not-created"},
		{"SES", ses("inbound/m1", "or-1@x.example", "b@x.example"), "m1[or-1@x.example b@x.example]"},
		{"SES, nobody", ses("inbound/m1"), "m1"},
		{"SES, a bounce", `{"notificationType":"Bounce","bounce":{}}`, "other-notice"},
		{"SES, other action", `{"notificationType":"Received","receipt":{"recipients":["a"],"action":{"type":"SNS"}},"content":"From: x"}`, "not-stored"},
		{"SES, function", text(object{"Records": []any{object{"eventSource": "aws:ses", "eventVersion": "1.0", "ses": object{"receipt": receipt("inbound/m1", "a")}}}}), "m1[a]"},
		{"SNS", snsRecord(ses("inbound/m1", "a")), "m1[a]"},
		{"SNS, S3", snsRecord(notification("inbound/m%2D1")), "m-1"},
		{"SNS, EventBridge", snsRecord(bridge("inbound/m1")), "m1"},
		{"SQS", sqs(notification("inbound/m1"), bridge("inbound/m2"), ses("inbound/m3", "a"), sns(ses("inbound/m4", "b")), sns(notification("inbound/m5"))), "q0:m1 q1:m2 q2:m3[a] q3:m4[b] q4:m5"},
		{"SQS, tests", sqs(test, sns(test)), "q0:test-event q1:test-event"},
		{"SQS, several in one", sqs(text(object{"Records": []any{s3Record(bucket, "inbound/m1"), s3Record("another", "inbound/m2"), s3Record(bucket, "inbound/m3")}})), "q0:m1 q0:other-bucket q0:m3"},
		{"SQS, half of one is bad", sqs(text(object{"Records": []any{s3Record(bucket, "inbound/m1"), s3Record(bucket, "%zz")}}), notification("inbound/m2")), "q0:error q1:m2"},
		{"SQS, nonsense", sqs("", "hello", "null", "[]", "{}", `{"Records":1}`, `{"Records":null}`, "{", `"x"`, notification("inbound/m1"), "\xff"), "q0:error q1:error q2:error q3:error q4:error q5:error q6:error q7:error q8:error q9:m1 q10:error"},
		{"SQS in SQS", sqs(sqs(notification("inbound/m1"))), "q0:error"},
		{"SNS in SNS", sqs(sns(sns(notification("inbound/m1"))), sns(snsRecord(notification("inbound/m1")))), "q0:error q1:error"},
		{"SNS, its own business", sqs(`{"Type":"SubscriptionConfirmation","Message":"x"}`), "q0:other-notice"},
		{"SQS, no body", `{"Records":[{"eventSource":"aws:sqs","messageId":"q0"}]}`, "q0:error"},
		{"SQS, key twice", sqs(`{"Records":[],"Records":[]}`, `{"Records":[],"records":[]}`, strings.Replace(notification("inbound/m1"), `"key":`, `"key":"inbound/m2","key":`, 1), strings.Replace(notification("inbound/m1"), `"key":`, `"Key":"inbound/m2","key":`, 1)), "q0:error q1:error q2:error q3:error"},
		{"SQS, two kinds", sqs(`{"Records":[],"Type":"Notification"}`), "q0:error"},
		{"SQS, version 3", sqs(strings.Replace(notification("inbound/m1"), `"2.1"`, `"3.0"`, 1)), "q0:error"},
		{"SQS, no key", sqs(strings.Replace(notification("inbound/m1"), `"key"`, `"kee"`, 1), strings.Replace(bridge("inbound/m1"), `"key"`, `"kee"`, 1), strings.Replace(ses("inbound/m1"), `"objectKey"`, `"kee"`, 1)), "q0:error q1:error q2:error"},
		{"SQS, key of another type", sqs(strings.Replace(notification("inbound/m1"), `"inbound/m1"`, `["inbound/m1"]`, 1), strings.Replace(ses("inbound/m1", "a"), `["a"]`, `"a"`, 1), strings.Replace(ses("inbound/m1", "a"), `["a"]`, `[1]`, 1)), "q0:error q1:error q2:error"},
		{"SQS, deep", sqs(strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)), "q0:error"},
	} {
		b, err := sesmail.Parse([]byte(c.payload), bucket)
		if err != nil || show(b) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, show(b), err, c.want)
		}
		for _, i := range b.Items {
			if i.Err != nil && !errors.Is(i.Err, sesmail.ErrEvent) {
				t.Errorf("%s: %v", c.name, i.Err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, payload := range []string{
		"", "null", "[]", "1", "{}", "{", `{"Records":{}}`, `{"Records":[1]}`, `{"Records":[{}]}`, `{"Records":[{"eventSource":"aws:kinesis"}]}`,
		sns(notification("inbound/m1")), // only a queue has such messages
		`{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}`,
		`{"Records":[{"eventSource":"aws:sns"}]}`, `{"Records":[{"eventSource":"aws:ses"}]}`, `{"Records":[{"eventSource":"aws:s3","eventVersion":"2.1"}]}`,
		text(object{"Records": []any{s3Record(bucket, "inbound/m1"), object{"eventSource": "aws:sqs", "messageId": "q", "body": "{}"}}}),
		`{"Event":"s3:Other"}`, `{"source":"aws.ec2","detail-type":"Object Created"}`, notification("%"), notification("inbound/%4"),
		`{"Records":[],"Records":[]}`, `{"Records":[]} {}`, strings.Repeat("[", 100_000), `{"notificationType":"Received"}`,
		strings.Repeat(" ", sesmail.MaxPayload) + "{}",
	} {
		b, err := sesmail.Parse([]byte(payload), bucket)
		if !errors.Is(err, sesmail.ErrEvent) || len(b.Items) != 0 || b.Queued {
			t.Errorf("%.80q: %v, %v", payload, b, err)
		}
	}
}

// TestKeys: one name, one message, whatever the spelling.
func TestKeys(t *testing.T) {
	for _, c := range []struct{ key, s3, plain string }{
		// The key as in the event; what a notification of S3 with it means, and
		// what one whose keys are not encoded does.
		{"inbound/m1", "m1", "m1"},
		{"inbound%2Fm1", "m1", "other-prefix"},
		{"%69nbound/m1", "m1", "other-prefix"},
		{"inbound/m%31", "m1", "no-message"},
		{"inbound/a+b", "no-message", "no-message"}, // a space, and a plus
		{"inbound/a%20b", "no-message", "no-message"},
		{"inbound/a%2Bb", "no-message", "no-message"},
		{"inbound/a%2Fb", "no-message", "no-message"},
		{"inbound/a/b", "no-message", "no-message"},
		{"inbound/m1%00", "no-message", "no-message"},
		{"inbound/%00", "no-message", "no-message"},
		{"inbound/a%252Fb", "no-message", "no-message"}, // encoded twice is decoded once
		{"inbound%252Fm1", "other-prefix", "other-prefix"},
		{"inbound/m%2531", "no-message", "no-message"},
		{"inbound/%C3%A4", "no-message", "no-message"},
		{"inbound/ä", "no-message", "no-message"},
		{"inbound/", "no-message", "no-message"},
		{"inbound/.", "no-message", "no-message"},
		{"inbound/..", "no-message", "no-message"},
		{"inbound/../bots/x", "no-message", "no-message"},
		{"inbound/.hidden", "no-message", "no-message"},
		{"inbound", "other-prefix", "other-prefix"},
		{"inbound.m1", "other-prefix", "other-prefix"},
		{"/inbound/m1", "other-prefix", "other-prefix"},
		{"Inbound/m1", "other-prefix", "other-prefix"},
		{"", "other-prefix", "other-prefix"},
		{"m1", "other-prefix", "other-prefix"},
		{"bots/0x00/inbound/m1", "own-output", "own-output"},
		{"bots%2F0x00/inbound/m1", "own-output", "other-prefix"},
		{"refused/malformed/m1", "own-output", "own-output"},
		{"inbound/AMAZON_SES_SETUP_NOTIFICATION", "AMAZON_SES_SETUP_NOTIFICATION", "AMAZON_SES_SETUP_NOTIFICATION"},
		{"inbound/" + strings.Repeat("x", 128), strings.Repeat("x", 128), strings.Repeat("x", 128)},
		{"inbound/" + strings.Repeat("x", 129), "no-message", "no-message"},
	} {
		for payload, want := range map[string]string{notification(c.key): c.s3, bridge(c.key): c.plain, ses(c.key): c.plain} {
			b, err := sesmail.Parse([]byte(payload), bucket)
			if err != nil || show(b) != want {
				t.Errorf("%q: %q, %v, want %q in %.60s", c.key, show(b), err, want, payload)
			}
		}
	}
	for _, other := range []string{"", "the-bucket2", "The-bucket", "the-bucket "} {
		b, err := sesmail.Parse([]byte(text(object{"Records": []any{s3Record(other, "inbound/m1")}})), bucket)
		if err != nil || show(b) != "other-bucket" {
			t.Errorf("%q: %q, %v", other, show(b), err)
		}
	}
}

// TestHuge: the largest events there are.
func TestHuge(t *testing.T) {
	var bodies []string
	for n := range 10_000 {
		bodies = append(bodies, notification(fmt.Sprint("inbound/m", n)))
	}
	b, err := sesmail.Parse([]byte(sqs(bodies...)), bucket)
	if err != nil || len(b.Items) != len(bodies) {
		t.Fatalf("%d items, %v", len(b.Items), err)
	}
	for n, i := range b.Items {
		if i.Message != fmt.Sprint("q", n) || i.ID.String() != fmt.Sprint("m", n) {
			t.Fatalf("item %d is %+v", n, i)
		}
	}
	// What is passed over takes memory too, but no more than its event.
	small := `{"Records":[` + strings.Repeat(`{"eventSource":"aws:s3","eventVersion":"2.","s3":{"bucket":{"name":""},"object":{"key":""}}},`, 50_000)
	if b, err := sesmail.Parse([]byte(small[:len(small)-1]+"]}"), bucket); err != nil || len(b.Items) != 50_000 {
		t.Errorf("%d items, %v", len(b.Items), err)
	}
}

// TestOracle reads the events that AWS's own library for Go is tested with as
// that library does, and the same from here.
func TestOracle(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-lambda-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "events", "testdata")
	load := func(name string, v any) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && v != nil {
			err = json.Unmarshal(data, v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}

	var s3 events.S3Event
	data := load("s3-event.json", &s3)
	if b, err := sesmail.Parse(data, s3.Records[0].S3.Bucket.Name); err != nil || show(b) != sesmail.SkipPrefix {
		t.Errorf("S3: %q, %v", show(b), err)
	}
	s3.Records[0].S3.Object.Key = url.QueryEscape("inbound/" + s3.Records[0].S3.Object.ETag)
	if b, err := sesmail.Parse([]byte(text(s3)), s3.Records[0].S3.Bucket.Name); err != nil || show(b) != s3.Records[0].S3.Object.ETag {
		t.Errorf("S3: %q, %v", show(b), err)
	}
	var sqs events.SQSEvent
	data = load("sqs-event.json", &sqs)
	if b, err := sesmail.Parse(data, bucket); err != nil || show(b) != sqs.Records[0].MessageId+":error" || !b.Queued {
		t.Errorf("SQS: %q, %v", show(b), err)
	}
	sqs.Records[0].Body = text(s3)
	if b, err := sesmail.Parse([]byte(text(sqs)), s3.Records[0].S3.Bucket.Name); err != nil || show(b) != sqs.Records[0].MessageId+":"+s3.Records[0].S3.Object.ETag {
		t.Errorf("SQS: %q, %v", show(b), err)
	}
	var sns events.SNSEvent
	data = load("sns-event.json", &sns)
	if _, err := sesmail.Parse(data, bucket); !errors.Is(err, sesmail.ErrEvent) { // its text says hello
		t.Errorf("SNS: %v", err)
	}
	sns.Records[0].SNS.Message = text(s3)
	if b, err := sesmail.Parse([]byte(text(sns)), s3.Records[0].S3.Bucket.Name); err != nil || show(b) != s3.Records[0].S3.Object.ETag {
		t.Errorf("SNS: %q, %v", show(b), err)
	}
	var ses events.SimpleEmailEvent
	data = load("ses-s3-event.json", &ses)
	action := &ses.Records[0].SES.Receipt.Action
	if b, err := sesmail.Parse(data, action.BucketName); err != nil || show(b) != sesmail.SkipPrefix {
		t.Errorf("SES: %q, %v", show(b), err)
	}
	action.ObjectKey = "inbound/" + ses.Records[0].SES.Mail.MessageID
	b, err := sesmail.Parse([]byte(text(ses)), action.BucketName)
	if err != nil || len(b.Items) != 1 || b.Items[0].ID.String() != ses.Records[0].SES.Mail.MessageID || !reflect.DeepEqual(b.Items[0].Recipients, ses.Records[0].SES.Receipt.Recipients) {
		t.Errorf("SES: %+v, %v", b, err)
	}
	for _, name := range []string{"ses-sns-event.json", "ses-lambda-event.json"} {
		if b, err := sesmail.Parse(load(name, nil), bucket); err != nil || show(b) != sesmail.SkipNotStored {
			t.Errorf("%s: %q, %v", name, show(b), err)
		}
	}

	// Everything else is refused, or passed over.
	all, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(all) < 50 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	for _, name := range all {
		b, err := sesmail.Parse(load(filepath.Base(name), nil), bucket)
		for _, i := range b.Items {
			if !i.ID.IsZero() {
				t.Errorf("%s has mail: %s", filepath.Base(name), show(b))
			}
		}
		if err != nil && !errors.Is(err, sesmail.ErrEvent) {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}

// TestErrorsTellNothing: an event has addresses in it.
func TestErrorsTellNothing(t *testing.T) {
	const canary = "canary"
	for _, payload := range []string{
		`{"Records":[{"eventSource":"` + canary + `"}]}`, `{"Records":["` + canary + `"]}`, canary, `{"Records":[{"eventSource":"aws:s3","eventVersion":"` + canary + `"}]}`,
		`{"` + canary + `":1,"` + canary + `":2}`, `{"Event":"` + canary + `"}`, `{"source":"` + canary + `"}`, notification("%z" + canary),
		`{"notificationType":"Received","receipt":{"recipients":"` + canary + `"}}`, `{"receipt":{"` + canary + `":"\x"}}`,
	} {
		if _, err := sesmail.Parse([]byte(payload), bucket); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// FuzzParse: whatever comes, each item is one thing, and what is mail is read
// the same from the plainest event that tells of it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		notification("inbound/m1"), bridge("inbound/m1"), ses("inbound/m1", "a@b.example"), snsRecord(ses("inbound/m1", "a")),
		sqs(notification("inbound/m%31"), bridge("inbound/m2"), ses("inbound/m3", "a"), sns(ses("inbound/m4", "b")), sns(notification("inbound/m5")), "x"),
		`{"Event":"s3:TestEvent"}`, `{"Records":[]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := sesmail.Parse(data, bucket)
		if err != nil {
			if !errors.Is(err, sesmail.ErrEvent) || len(b.Items) != 0 {
				t.Fatal(b, err)
			}
			return
		}
		for _, i := range b.Items {
			kinds := 0
			for _, is := range []bool{!i.ID.IsZero(), i.Skip != "", i.Err != nil} {
				if is {
					kinds++
				}
			}
			if kinds != 1 || b.Queued == (i.Message == "") || i.ID.IsZero() && i.Recipients != nil || i.Err != nil && !b.Queued {
				t.Fatalf("%+v of a batch that is queued: %t", i, b.Queued)
			}
			if i.ID.IsZero() {
				continue
			}
			if _, err := agentkeys.ParseMessageID(i.ID.String()); err != nil {
				t.Fatal(err)
			}
			again, err := sesmail.Parse([]byte(ses("inbound/"+i.ID.String(), i.Recipients...)), bucket)
			if err != nil || len(again.Items) != 1 || again.Items[0].ID != i.ID || !reflect.DeepEqual(again.Items[0].Recipients, i.Recipients) {
				t.Fatalf("%+v became %+v, %v", i, again, err)
			}
		}
	})
}
