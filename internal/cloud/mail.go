package cloud

import (
	"context"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// mailParts are those of mail, in two halves: what must be there before the
// bucket's policy and what needs it. Mail flows from right to left through the
// second half, so that each part finds the next one ready: a message that comes
// while apply is at work waits in the bucket or in the queue, and is not lost.
//
//	before  log group, dead letters, queue, its policy
//	after   function, its source, notification, alarms, identities, rule set, rule, activation
func (c *Cloud) mailParts() (before, after []part) {
	if c.Mail == nil {
		return nil, nil
	}
	before = append(before, c.logPart())
	before = append(before, c.queueParts()...)
	after = append(after, c.functionParts()...)
	after = append(after, c.mappingPart(), c.notificationPart())
	after = append(after, c.alarmParts()...)
	after = append(after, c.receivingParts()...)
	if c.Compatible == VersityGW {
		for _, list := range [][]part{before, after} {
			for i := range list {
				list[i] = part{name: list[i].name, left: noMail}
			}
		}
	}
	return before, after
}

// madePrefix begins the keys of the queue's tags that say what of SES apply has
// made. What this API of SES has carries no tags of its own, so that nothing
// else would tell an identity of ours from one that was there before. The note
// is written before the thing is made: an interrupted apply leaves a note too
// many, never one too few, and a note is heeded only where the thing was
// missing when it was written.
const madePrefix = "agentkeys:made:"

// made returns the notes on the queue; none if there is no queue.
func (c *Cloud) made(ctx context.Context) (map[string]bool, error) {
	tags, err := c.queueTags(ctx, c.Names.Mail.Queue)
	if isMissing(err) {
		return nil, nil
	}
	list := map[string]bool{}
	for k := range tags {
		if what, ok := strings.CutPrefix(k, madePrefix); ok {
			list[what] = true
		}
	}
	return list, err
}

// willMake notes that something is made next.
func (c *Cloud) willMake(ctx context.Context, what string) error {
	url, err := c.queueURL(ctx, c.Names.Mail.Queue)
	if err != nil {
		return err
	}
	_, err = c.sqs.TagQueue(ctx, &sqs.TagQueueInput{QueueUrl: &url, Tags: map[string]string{madePrefix + what: "yes"}})
	return err
}

func (c *Cloud) queueURL(ctx context.Context, name string) (string, error) {
	out, err := c.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.QueueUrl), nil
}

func (c *Cloud) queueTags(ctx context.Context, name string) (map[string]string, error) {
	url, err := c.queueURL(ctx, name)
	if err != nil {
		return nil, err
	}
	out, err := c.sqs.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: &url})
	if err != nil {
		return nil, err
	}
	return maps.Clone(out.Tags), nil
}

// queue returns the URL and the attributes of a queue that is ours; "" if there
// is none of that name.
func (c *Cloud) queue(ctx context.Context, name string) (url string, attributes map[string]string, err error) {
	tags, err := c.queueTags(ctx, name)
	if isMissing(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if err := c.mustBeOurs(tags, "mail.queue"); err != nil {
		return "", nil, err
	}
	if url, err = c.queueURL(ctx, name); err != nil {
		return "", nil, err
	}
	out, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll}})
	if err != nil {
		return "", nil, err
	}
	return url, out.Attributes, nil
}
