// Package sesmail reads the events that say that mail has arrived in a bucket,
// in every shape that they come to the mail router in. It is pure, and depends
// on strictjson and the root package only.
//
//	S3 notification      {"Records":[{"eventSource":"aws:s3",…,"s3":{…}}]}
//	EventBridge          {"source":"aws.s3","detail-type":"Object Created","detail":{…}}
//	SES                  {"notificationType":"Received","receipt":{"recipients":[…],"action":{…}}}
//	SES to a function    {"Records":[{"eventSource":"aws:ses","ses":{"receipt":{…}}}]}
//	S3's test            {"Service":"Amazon S3","Event":"s3:TestEvent",…}
//
// Each of them may also be the text of a message of SNS, sent to a function
// ({"Records":[{"EventSource":"aws:sns","Sns":{"Message":"…"}}]}) or to a queue
// ({"Type":"Notification","Message":"…"}), and that or an event itself the body
// of a message of SQS ({"Records":[{"eventSource":"aws:sqs","messageId":"…",
// "body":"…"}]}).
//
// Laws:
//   - What is needed must be there, once, in its type; what else is there does
//     not matter.
//   - A key is decoded as often as its writer encoded it: once in an S3
//     notification, which has form encoding, and never elsewhere. What is no
//     message id then is none.
//   - A message of a queue that cannot be read spoils no other, and is not
//     taken for done: it goes where the queue puts what fails.
//   - No error has text of an event in it.
package sesmail

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/strictjson"
)

// MaxPayload is the largest event in bytes; Lambda takes no larger ones.
const MaxPayload = 6 << 20

// ErrEvent is every refusal of an event, with what is wrong.
var ErrEvent = errors.New("not an event of arrived mail")

// Why an item is passed over.
const (
	SkipTest        = "test-event"   // S3's, when a notification is set up
	SkipBucket      = "other-bucket" // not the one of the mail
	SkipPrefix      = "other-prefix" // neither mail nor made of it
	SkipOutput      = "own-output"   // what the router wrote itself
	SkipName        = "no-message"   // in inbound/, under a name that no message has
	SkipNotCreated  = "not-created"  // such as deleted, restored or tagged
	SkipNotStored   = "not-stored"   // SES did something else with it
	SkipOtherNotice = "other-notice" // of SES, such as of a bounce; or of SNS itself
)

// Item is one thing that an event tells of: a message, something to be passed
// over, or an error.
type Item struct {
	// Message is the id of the message of the queue that it was in; "" if the
	// event came from none. Several items may be of one.
	Message string
	// ID is the mail's; zero unless Skip is "" and Err nil.
	ID agentkeys.MessageID
	// Recipients are those of the envelope, if the event has them.
	Recipients []string
	// Skip is why it is passed over.
	Skip string
	// Err is why it cannot be understood. It wraps ErrEvent.
	Err error
}

// Batch is what one event tells of.
type Batch struct {
	// Queued says that the event is of messages of a queue, and is answered
	// with those that failed. Any other event fails as a whole.
	Queued bool
	Items  []Item
}

// event is any of the shapes from a queue inwards, and a record of one is too.
// encoding/json folds the case of keys, as SNS writes them with capitals.
type event struct {
	Records []json.RawMessage `json:"Records"`

	Event string `json:"Event"` // S3's test

	Type    string  `json:"Type"` // SNS
	Message *string `json:"Message"`

	Source     string `json:"source"` // EventBridge
	DetailType string `json:"detail-type"`
	Detail     *place `json:"detail"`

	NotificationType string   `json:"notificationType"` // SES
	Receipt          *receipt `json:"receipt"`
}

type place struct {
	Bucket struct {
		Name *string `json:"name"`
	} `json:"bucket"`
	Object struct {
		Key *string `json:"key"`
	} `json:"object"`
}

type receipt struct {
	Recipients []string `json:"recipients"`
	Action     struct {
		Type       string  `json:"type"`
		BucketName *string `json:"bucketName"`
		ObjectKey  *string `json:"objectKey"`
	} `json:"action"`
}

type record struct {
	EventSource  string `json:"eventSource"`
	EventVersion string `json:"eventVersion"`
	EventName    string `json:"eventName"`
	S3           *place `json:"s3"`
	SES          *struct {
		Receipt *receipt `json:"receipt"`
	} `json:"ses"`
	SNS *struct {
		Message *string `json:"Message"`
	} `json:"Sns"`
	MessageID string  `json:"messageId"`
	Body      *string `json:"body"`
}

// Parse reads the event that a function was called with. bucket is the one of
// the mail. An error wraps ErrEvent and means that nothing at all is understood.
func Parse(payload []byte, bucket string) (Batch, error) {
	if len(payload) > MaxPayload {
		return Batch{}, fmt.Errorf("%w: it has more than %d bytes", ErrEvent, MaxPayload)
	}
	p := parser{bucket: bucket}
	if err := p.event(payload, fromFunction); err != nil {
		return Batch{}, err
	}
	return p.batch, nil
}

// origin is what a text was found in; further in, less may follow.
type origin int

const (
	fromFunction origin = iota
	fromQueue
	fromTopic
)

type parser struct {
	bucket  string
	message string
	batch   Batch
}

func (p *parser) add(i Item) {
	i.Message = p.message
	p.batch.Items = append(p.batch.Items, i)
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrEvent}, args...)...)
}

func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return bad("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func (p *parser) event(data []byte, from origin) error {
	// Of a key that stands twice another reader could take the other.
	if err := strictjson.Unique(data); err != nil {
		return bad("%w", err)
	}
	var e event
	if err := decode(data, &e); err != nil {
		return err
	}
	kinds := 0
	for _, is := range []bool{e.Records != nil, e.Event != "", e.Type != "", e.Source != "", e.NotificationType != ""} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return bad("it is of %d kinds that are known here", kinds)
	case e.Records != nil:
		return p.records(e.Records, from)
	case e.Event != "":
		if e.Event != "s3:TestEvent" {
			return bad("an event of S3 that is none of a bucket's")
		}
		p.add(Item{Skip: SkipTest})
		return nil
	case e.Type != "":
		if from != fromQueue {
			return bad("a message of SNS where there is none")
		}
		if e.Type != "Notification" {
			p.add(Item{Skip: SkipOtherNotice})
			return nil
		}
		return p.topic(e.Message)
	case e.Source != "":
		return p.bridge(e)
	}
	if e.NotificationType != "Received" {
		p.add(Item{Skip: SkipOtherNotice})
		return nil
	}
	return p.receipt(e.Receipt)
}

// topic reads the text of a message of SNS.
func (p *parser) topic(text *string) error {
	if text == nil {
		return bad("a message of SNS without a text")
	}
	return p.event([]byte(*text), fromTopic)
}

func (p *parser) records(all []json.RawMessage, from origin) error {
	source := ""
	for n, data := range all {
		var r record
		if err := decode(data, &r); err != nil {
			return err
		}
		if n > 0 && r.EventSource != source {
			return bad("records of several sources")
		}
		source = r.EventSource
		if err := p.record(r, from); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) record(r record, from origin) error {
	switch {
	case r.EventSource == "aws:sqs" && from == fromFunction:
		return p.queued(r)
	case r.EventSource == "aws:sns" && from == fromFunction:
		if r.SNS == nil {
			return bad("a record of SNS without a message")
		}
		return p.topic(r.SNS.Message)
	case r.EventSource == "aws:s3":
		return p.notification(r)
	case r.EventSource == "aws:ses":
		if r.SES == nil {
			return bad("a record of SES without a receipt")
		}
		return p.receipt(r.SES.Receipt)
	}
	return bad("a record of a source that is not known here")
}

// queued reads one message of a queue. Only one without an id, which could not
// be told to have failed, spoils the others.
func (p *parser) queued(r record) error {
	if r.MessageID == "" {
		return bad("a message of a queue without an id")
	}
	p.batch.Queued, p.message = true, r.MessageID
	before := len(p.batch.Items)
	err := bad("a message of a queue without a body")
	if r.Body != nil {
		err = p.event([]byte(*r.Body), fromQueue)
	}
	if err != nil {
		p.batch.Items = p.batch.Items[:before]
		p.add(Item{Err: err})
	}
	return nil
}

// notification reads one record of S3's. Its version is 2.x; another first
// number would mean other fields.
func (p *parser) notification(r record) error {
	if !strings.HasPrefix(r.EventVersion, "2.") {
		return bad("a notification of S3 of another version")
	}
	if r.S3 == nil || r.S3.Bucket.Name == nil || r.S3.Object.Key == nil {
		return bad("a notification of S3 without a bucket or a key")
	}
	if !strings.HasPrefix(strings.TrimPrefix(r.EventName, "s3:"), "ObjectCreated:") {
		p.add(Item{Skip: SkipNotCreated})
		return nil
	}
	key, err := url.QueryUnescape(*r.S3.Object.Key)
	if err != nil {
		return bad("a notification of S3 whose key is not form-encoded")
	}
	p.object(*r.S3.Bucket.Name, key, nil)
	return nil
}

// bridge reads an event of EventBridge, whose keys are not encoded.
func (p *parser) bridge(e event) error {
	switch {
	case e.Source != "aws.s3":
		return bad("an event of EventBridge that is not S3's")
	case e.DetailType != "Object Created":
		p.add(Item{Skip: SkipNotCreated})
		return nil
	case e.Detail == nil || e.Detail.Bucket.Name == nil || e.Detail.Object.Key == nil:
		return bad("an event of EventBridge without a bucket or a key")
	}
	p.object(*e.Detail.Bucket.Name, *e.Detail.Object.Key, nil)
	return nil
}

// receipt reads what SES did with a message. It names all recipients that the
// receipt rule matched.
func (p *parser) receipt(r *receipt) error {
	switch {
	case r == nil:
		return bad("a notification of SES without a receipt")
	case r.Action.Type != "S3":
		p.add(Item{Skip: SkipNotStored})
		return nil
	case r.Action.BucketName == nil || r.Action.ObjectKey == nil:
		return bad("a notification of SES without a bucket or a key")
	}
	p.object(*r.Action.BucketName, *r.Action.ObjectKey, r.Recipients)
	return nil
}

// object adds one object of a bucket.
func (p *parser) object(bucket, key string, recipients []string) {
	name, inbound := strings.CutPrefix(key, "inbound/")
	id, err := agentkeys.ParseMessageID(name)
	switch {
	case bucket != p.bucket:
		p.add(Item{Skip: SkipBucket})
	case strings.HasPrefix(key, "bots/"), strings.HasPrefix(key, "refused/"):
		p.add(Item{Skip: SkipOutput})
	case !inbound:
		p.add(Item{Skip: SkipPrefix})
	case err != nil:
		p.add(Item{Skip: SkipName})
	default:
		p.add(Item{ID: id, Recipients: recipients})
	}
}
