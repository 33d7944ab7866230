package cloud

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/ses"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// piece is something of the mail part that is ours and can be removed.
type piece struct {
	name string
	do   func(ctx context.Context) error
}

// planMailRemoval looks for what of the mail part is ours, in the order in
// which it goes: first what lets mail in, last the queue, whose tags say what
// was made.
func (c *Cloud) planMailRemoval(ctx context.Context, r *Removal) error {
	if c.Mail == nil || c.Compatible != "" {
		return nil
	}
	if err := c.planReceivingRemoval(ctx, r); err != nil {
		return err
	}
	b := c.notificationPart()
	if have, err := b.read(ctx); err != nil {
		return err
	} else if have != "" {
		r.add(b.name, c.removeNotification)
	}
	function := "function " + c.Names.RouterFunction()
	if m, err := c.mapping(ctx); err != nil {
		return err
	} else if m != nil {
		r.add(function+": source", func(ctx context.Context) error {
			_, err := c.lambda.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: m.UUID})
			return err
		})
	}
	look := func(name string, there bool, err error, do func(context.Context) error) error {
		switch {
		case errors.Is(err, ErrNotOurs):
			r.Keep = append(r.Keep, name+", which is not marked as ours")
		case err != nil:
			return err
		case there:
			r.add(name, do)
		}
		return nil
	}
	f, err := c.getFunction(ctx)
	if err := look(function, f != nil, err, func(ctx context.Context) error {
		_, err := c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String(c.Names.RouterFunction())})
		return err
	}); err != nil {
		return err
	}
	there, _, err := c.findLog(ctx)
	if err := look("log "+c.logGroup(), there, err, func(ctx context.Context) error {
		_, err := c.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(c.logGroup())})
		return err
	}); err != nil {
		return err
	}
	for _, a := range c.alarms() {
		have, err := c.getAlarm(ctx, a.Name)
		if err := look("alarm "+a.Name, have != nil, err, func(ctx context.Context) error {
			_, err := c.watch.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{a.Name}})
			return err
		}); err != nil {
			return err
		}
	}
	for _, name := range []string{c.Names.Mail.DeadLetters, c.Names.Mail.Queue} {
		url, _, err := c.queue(ctx, name)
		if err := look("queue "+name, url != "", err, func(ctx context.Context) error {
			_, err := c.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Removal) add(name string, do func(context.Context) error) {
	r.Remove = append(r.Remove, name)
	r.mail = append(r.mail, piece{name, do})
}

// planReceivingRemoval looks for what of SES is noted as made by apply.
func (c *Cloud) planReceivingRemoval(ctx context.Context, r *Removal) error {
	made, err := c.made(ctx)
	if err != nil {
		return err
	}
	set, rule := &c.Names.SES.RuleSet, &c.Names.SES.Rule
	setPart := c.ruleSetPart()
	hasSet, err := setPart.read(ctx)
	if err != nil {
		return err
	}
	ourSet := hasSet != "" && made["rule-set/"+*set]
	active, err := c.activeSet(ctx)
	if err != nil {
		return err
	}
	if ourSet && active == *set {
		r.add("activation of "+setPart.name, func(ctx context.Context) error {
			if now, err := c.activeSet(ctx); err != nil || now != *set {
				return err
			}
			_, err := c.ses.SetActiveReceiptRuleSet(ctx, &ses.SetActiveReceiptRuleSetInput{})
			return err
		})
	}
	switch have, err := c.rule(ctx); {
	case errors.Is(err, ErrNotOurs):
		r.Keep = append(r.Keep, "receipt rule "+*rule+", which apply did not make")
	case err != nil:
		return err
	case have != nil:
		r.add("receipt rule "+*rule, func(ctx context.Context) error {
			_, err := c.ses.DeleteReceiptRule(ctx, &ses.DeleteReceiptRuleInput{RuleSetName: set, RuleName: rule})
			return err
		})
	}
	switch {
	case ourSet:
		strangers, err := c.otherRules(ctx)
		if err != nil {
			return err
		}
		if strangers {
			r.Keep = append(r.Keep, setPart.name+", which has rules of others")
			break
		}
		r.add(setPart.name, func(ctx context.Context) error {
			_, err := c.ses.DeleteReceiptRuleSet(ctx, &ses.DeleteReceiptRuleSetInput{RuleSetName: set})
			return err
		})
	case hasSet != "":
		r.Keep = append(r.Keep, setPart.name+", which was there before")
	}
	for _, d := range c.Mail.Domains {
		id, err := c.identity(ctx, d)
		switch {
		case err != nil:
			return err
		case id.there && made["identity/"+d]:
			r.add("mail identity "+d, func(ctx context.Context) error {
				_, err := c.ses.DeleteIdentity(ctx, &ses.DeleteIdentityInput{Identity: &d})
				return err
			})
		case id.there:
			r.Keep = append(r.Keep, "mail identity "+d+", which was there before")
		}
	}
	return nil
}

// otherRules reports whether our rule set has rules that are not ours.
func (c *Cloud) otherRules(ctx context.Context) (bool, error) {
	out, err := c.ses.DescribeReceiptRuleSet(ctx, &ses.DescribeReceiptRuleSetInput{RuleSetName: &c.Names.SES.RuleSet})
	if err != nil {
		return false, err
	}
	for _, r := range out.Rules {
		if aws.ToString(r.Name) != c.Names.SES.Rule {
			return true, nil
		}
	}
	return false, nil
}

// removeNotification writes the bucket's notifications back without ours.
func (c *Cloud) removeNotification(ctx context.Context) error {
	all, err := c.notifications(ctx)
	if err != nil {
		return err
	}
	all.QueueConfigurations = slices.DeleteFunc(all.QueueConfigurations, func(q s3types.QueueConfiguration) bool { return aws.ToString(q.Id) == notificationID })
	return c.putNotifications(ctx, all)
}
