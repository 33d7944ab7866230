package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

const (
	// keepMessages is how long a queue keeps a message, in seconds: the longest
	// that SQS has, 14 days.
	keepMessages = 14 * 24 * 3600
	// visibilities is how many of the function's timeouts a message stays out of
	// sight, as Lambda's guide has it: throttled calls are tried again within it.
	visibilities = 6
	// retrySeconds is how long a message is tried before it counts as failed.
	retrySeconds = 6 * 3600
	// notificationID names the one notification that is ours.
	notificationID = "agentkeys-inbound"
	arrivals       = "s3:ObjectCreated:*"
	inbound        = "inbound/"
)

// visibility is how long a message stays out of sight, in seconds.
func (m *Mail) visibility() int { return visibilities * int(m.Seconds) }

// maxReceive is how often a message is tried. What the router defers, because a
// limit is reached or the store is away, counts as tried, since all that the
// queue knows is that it was received: so the number follows from how long mail
// is to be tried, and the time between two tries. What can never be sorted does
// not come back; the router refuses it.
func (m *Mail) maxReceive() int { return retrySeconds / m.visibility() }

// queueSettings are a queue's, as they are compared.
type queueSettings struct {
	VisibilitySeconds, RetentionSeconds int
	SQSEncryption                       bool
	DeadLetters                         string   `json:",omitempty"`
	MaxReceive                          int      `json:",omitempty"`
	DeadLettersOf                       []string `json:",omitempty"`
}

// mustBeOurs refuses what carries no mark of ours.
func (c *Cloud) mustBeOurs(tags map[string]string, setting string) error {
	if tags[Mark] == c.Names.Bucket {
		return nil
	}
	return fmt.Errorf("%w: choose another name under %s, or tag it %s = %s to have it taken over", ErrNotOurs, setting, Mark, c.Names.Bucket)
}

func (c *Cloud) queueParts() []part {
	n := c.Names
	work, dead := n.QueueARN(n.Mail.Queue), n.QueueARN(n.Mail.DeadLetters)
	var list []part
	list = append(list, c.queuePart(n.Mail.DeadLetters, queueSettings{VisibilitySeconds: 30, RetentionSeconds: keepMessages, SQSEncryption: true, DeadLettersOf: []string{work}}, cloudpolicy.DeadLetterPolicy(n))...)
	return append(list, c.queuePart(n.Mail.Queue, queueSettings{
		VisibilitySeconds: c.Mail.visibility(), RetentionSeconds: keepMessages, SQSEncryption: true, DeadLetters: dead, MaxReceive: c.Mail.maxReceive(),
	}, cloudpolicy.QueuePolicy(n))...)
}

type redrive struct {
	Target     string `json:"deadLetterTargetArn"`
	MaxReceive any    `json:"maxReceiveCount"` // a number, or one in quotes
}

type redriveAllow struct {
	Permission string   `json:"redrivePermission"`
	Sources    []string `json:"sourceQueueArns,omitempty"`
}

func (q queueSettings) attributes() map[string]string {
	a := map[string]string{
		"VisibilityTimeout": strconv.Itoa(q.VisibilitySeconds), "MessageRetentionPeriod": strconv.Itoa(q.RetentionSeconds),
		"SqsManagedSseEnabled": strconv.FormatBool(q.SQSEncryption),
	}
	if q.DeadLetters != "" {
		a["RedrivePolicy"] = compact(redrive{q.DeadLetters, q.MaxReceive})
	}
	if q.DeadLettersOf != nil {
		a["RedriveAllowPolicy"] = compact(redriveAllow{"byQueue", q.DeadLettersOf})
	}
	return a
}

func settingsOf(a map[string]string) queueSettings {
	number := func(key string) int { n, _ := strconv.Atoi(a[key]); return n }
	q := queueSettings{VisibilitySeconds: number("VisibilityTimeout"), RetentionSeconds: number("MessageRetentionPeriod"), SQSEncryption: a["SqsManagedSseEnabled"] == "true"}
	var r redrive
	if json.Unmarshal([]byte(a["RedrivePolicy"]), &r) == nil {
		q.DeadLetters = r.Target
		q.MaxReceive, _ = strconv.Atoi(fmt.Sprint(r.MaxReceive))
	}
	var allow redriveAllow
	if json.Unmarshal([]byte(a["RedriveAllowPolicy"]), &allow) == nil && allow.Permission == "byQueue" {
		q.DeadLettersOf = allow.Sources
	}
	return q
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // these types always marshal
	}
	return string(b)
}

func (c *Cloud) queuePart(name string, want queueSettings, policy cloudpolicy.Document) []part {
	return []part{
		{
			name: "queue " + name, want: pretty(want),
			read: func(ctx context.Context) (string, error) {
				url, a, err := c.queue(ctx, name)
				if url == "" || err != nil {
					return "", err
				}
				return pretty(settingsOf(a)), nil
			},
			write: func(ctx context.Context) error {
				url, _, err := c.queue(ctx, name)
				if err != nil {
					return err
				}
				if url == "" {
					_, err := c.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: want.attributes(), Tags: map[string]string{Mark: c.Names.Bucket}})
					return err
				}
				_, err = c.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: want.attributes()})
				return err
			},
		},
		{
			name: "queue " + name + ": policy", kind: cloudpolicy.Queue, want: string(policy.Indented()),
			read: func(ctx context.Context) (string, error) {
				_, a, err := c.queue(ctx, name)
				if err != nil || a["Policy"] == "" {
					return "", err
				}
				return canonical(a["Policy"]), nil
			},
			write: func(ctx context.Context) error {
				url, _, err := c.queue(ctx, name)
				if err != nil {
					return err
				}
				_, err = c.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"Policy": string(policy.Compact())}})
				return err
			},
		},
	}
}

// notification is ours, as it is compared.
type notification struct {
	Queue  string
	Events []string
	Prefix string
	Suffix string `json:",omitempty"`
}

func notificationOf(q s3types.QueueConfiguration) notification {
	have := notification{Queue: aws.ToString(q.QueueArn)}
	for _, e := range q.Events {
		have.Events = append(have.Events, string(e))
	}
	have.Prefix, have.Suffix = filterOf(q.Filter)
	return have
}

func filterOf(f *s3types.NotificationConfigurationFilter) (prefix, suffix string) {
	if f == nil || f.Key == nil {
		return "", ""
	}
	for _, r := range f.Key.FilterRules {
		switch strings.ToLower(string(r.Name)) {
		case "prefix":
			prefix = aws.ToString(r.Value)
		case "suffix":
			suffix = aws.ToString(r.Value)
		}
	}
	return prefix, suffix
}

// notificationPart tells the queue of what arrives. A bucket has one document
// of all its notifications: those of others are written back as they were.
func (c *Cloud) notificationPart() part {
	b := &c.Names.Bucket
	queue := c.Names.QueueARN(c.Names.Mail.Queue)
	isOurs := func(q s3types.QueueConfiguration) bool { return aws.ToString(q.Id) == notificationID }
	return part{
		name: "bucket " + *b + ": notification", want: pretty(notification{Queue: queue, Events: []string{arrivals}, Prefix: inbound}),
		read: func(ctx context.Context) (string, error) {
			all, err := c.notifications(ctx)
			if err != nil {
				return "", err
			}
			for _, q := range all.QueueConfigurations {
				if isOurs(q) {
					return pretty(notificationOf(q)), nil
				}
			}
			return "", nil
		},
		write: func(ctx context.Context) error {
			all, err := c.notifications(ctx)
			if err != nil {
				return err
			}
			all.QueueConfigurations = slices.DeleteFunc(all.QueueConfigurations, isOurs)
			if id := overlapping(all); id != "" {
				return fmt.Errorf("%w: %s", ErrNotifies, id)
			}
			all.QueueConfigurations = append(all.QueueConfigurations, s3types.QueueConfiguration{
				Id: aws.String(notificationID), QueueArn: &queue, Events: []s3types.Event{arrivals},
				Filter: &s3types.NotificationConfigurationFilter{Key: &s3types.S3KeyFilter{FilterRules: []s3types.FilterRule{{Name: s3types.FilterRuleNamePrefix, Value: aws.String(inbound)}}}},
			})
			return c.putNotifications(ctx, all)
		},
	}
}

func (c *Cloud) notifications(ctx context.Context) (*s3types.NotificationConfiguration, error) {
	out, err := c.s3.GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: &c.Names.Bucket})
	if isMissing(err) {
		return &s3types.NotificationConfiguration{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &s3types.NotificationConfiguration{
		QueueConfigurations: out.QueueConfigurations, TopicConfigurations: out.TopicConfigurations,
		LambdaFunctionConfigurations: out.LambdaFunctionConfigurations, EventBridgeConfiguration: out.EventBridgeConfiguration,
	}, nil
}

func (c *Cloud) putNotifications(ctx context.Context, all *s3types.NotificationConfiguration) error {
	_, err := c.s3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{Bucket: &c.Names.Bucket, NotificationConfiguration: all})
	return err
}

// overlapping names a notification about objects that arrive in inbound/. S3
// refuses two of them, with an error that does not say which.
func overlapping(all *s3types.NotificationConfiguration) string {
	clash := func(id *string, events []s3types.Event, f *s3types.NotificationConfigurationFilter) string {
		prefix, _ := filterOf(f)
		creates := slices.ContainsFunc(events, func(e s3types.Event) bool { return strings.HasPrefix(string(e), "s3:ObjectCreated:") })
		if creates && (strings.HasPrefix(prefix, inbound) || strings.HasPrefix(inbound, prefix)) {
			return "notification " + strconv.Quote(aws.ToString(id))
		}
		return ""
	}
	for _, q := range all.QueueConfigurations {
		if id := clash(q.Id, q.Events, q.Filter); id != "" {
			return id
		}
	}
	for _, q := range all.TopicConfigurations {
		if id := clash(q.Id, q.Events, q.Filter); id != "" {
			return id
		}
	}
	for _, q := range all.LambdaFunctionConfigurations {
		if id := clash(q.Id, q.Events, q.Filter); id != "" {
			return id
		}
	}
	return ""
}
