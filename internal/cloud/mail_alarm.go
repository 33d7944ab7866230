package cloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// alarm is one of ours, as it is compared.
type alarm struct {
	Name        string `json:"-"`
	Description string
	Namespace   string
	Metric      string
	Dimensions  map[string]string
	Statistic   string
	Seconds     int32 // of a period
	Periods     int32
	// Above is the value that is still well.
	Above float64
	Tells []string `json:",omitempty"`
}

const (
	// metrics is the namespace of what the router counts itself.
	metrics = "AgentKeys/Mail"
	// lateSeconds is how old the oldest message in the queue may be: a sign-up
	// waits for its mail some minutes, and then gives up.
	lateSeconds = 300
	// refusedMany is how many messages may be refused in a period. Anybody can
	// send some, so that one alone is no reason to wake somebody.
	refusedMany = 20
)

// alarms are all there are. A metric without data is well: no mail, no metric.
func (c *Cloud) alarms() []alarm {
	function, queue := c.Names.RouterFunction(), c.Names.Mail.Queue
	of := func(k, v string) map[string]string { return map[string]string{k: v} }
	list := []alarm{
		{
			Name: "dead-letters", Description: "mail that could not be sorted for six hours waits in the dead-letter queue",
			Namespace: "AWS/SQS", Metric: "ApproximateNumberOfMessagesVisible", Dimensions: of("QueueName", c.Names.Mail.DeadLetters), Statistic: "Maximum", Seconds: 60, Periods: 1,
		},
		{
			Name: "errors", Description: "the mail router fails as a whole",
			Namespace: "AWS/Lambda", Metric: "Errors", Dimensions: of("FunctionName", function), Statistic: "Sum", Seconds: 300, Periods: 1,
		},
		{
			Name: "throttles", Description: "the mail router is held back by its concurrency",
			Namespace: "AWS/Lambda", Metric: "Throttles", Dimensions: of("FunctionName", function), Statistic: "Sum", Seconds: 300, Periods: 1,
		},
		{
			Name: "late", Description: "mail waits longer to be sorted than a sign-up waits for it",
			Namespace: "AWS/SQS", Metric: "ApproximateAgeOfOldestMessage", Dimensions: of("QueueName", queue), Statistic: "Maximum", Seconds: 60, Periods: 3, Above: lateSeconds,
		},
		{
			Name: "refused", Description: "much mail is refused: see refused/ in the bucket and the router's log for the reasons",
			Namespace: metrics, Metric: "Refused", Statistic: "Sum", Seconds: 300, Periods: 1, Above: refusedMany,
		},
	}
	for i := range list {
		list[i].Name = function + "-" + list[i].Name
		if c.Mail.AlarmTopic != "" {
			list[i].Tells = []string{c.Mail.AlarmTopic}
		}
	}
	return list
}

func (c *Cloud) alarmARN(name string) string {
	return "arn:" + c.Names.Partition + ":cloudwatch:" + c.Names.Region + ":" + c.Names.Account + ":alarm:" + name
}

// getAlarm returns one that is ours, nil if there is none of that name.
func (c *Cloud) getAlarm(ctx context.Context, name string) (*watchtypes.MetricAlarm, error) {
	out, err := c.watch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}})
	if err != nil || len(out.MetricAlarms) == 0 {
		return nil, err
	}
	tags, err := c.watch.ListTagsForResource(ctx, &cloudwatch.ListTagsForResourceInput{ResourceARN: aws.String(c.alarmARN(name))})
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	for _, t := range tags.Tags {
		have[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return &out.MetricAlarms[0], c.mustBeOurs(have, "mail.function.name")
}

func (c *Cloud) alarmParts() []part {
	var list []part
	for _, a := range c.alarms() {
		list = append(list, c.alarmPart(a))
	}
	return list
}

func (c *Cloud) alarmPart(a alarm) part {
	return part{
		name: "alarm " + a.Name, want: pretty(a),
		read: func(ctx context.Context) (string, error) {
			m, err := c.getAlarm(ctx, a.Name)
			if m == nil || err != nil {
				return "", err
			}
			have := alarm{
				Description: aws.ToString(m.AlarmDescription), Namespace: aws.ToString(m.Namespace), Metric: aws.ToString(m.MetricName), Statistic: string(m.Statistic),
				Seconds: aws.ToInt32(m.Period), Periods: aws.ToInt32(m.EvaluationPeriods), Above: aws.ToFloat64(m.Threshold), Tells: m.AlarmActions,
			}
			for _, d := range m.Dimensions {
				if have.Dimensions == nil {
					have.Dimensions = map[string]string{}
				}
				have.Dimensions[aws.ToString(d.Name)] = aws.ToString(d.Value)
			}
			if m.ComparisonOperator != watchtypes.ComparisonOperatorGreaterThanThreshold || aws.ToString(m.TreatMissingData) != "notBreaching" || !aws.ToBool(m.ActionsEnabled) {
				have.Description += " (changed: it compares otherwise, is alarmed without data, or tells nobody)"
			}
			return pretty(have), nil
		},
		write: func(ctx context.Context) error {
			m, err := c.getAlarm(ctx, a.Name)
			if err != nil {
				return err
			}
			in := &cloudwatch.PutMetricAlarmInput{
				AlarmName: &a.Name, AlarmDescription: &a.Description, Namespace: &a.Namespace, MetricName: &a.Metric, Statistic: watchtypes.Statistic(a.Statistic),
				Period: &a.Seconds, EvaluationPeriods: &a.Periods, Threshold: &a.Above, ComparisonOperator: watchtypes.ComparisonOperatorGreaterThanThreshold,
				TreatMissingData: aws.String("notBreaching"), ActionsEnabled: aws.Bool(true), AlarmActions: a.Tells,
			}
			for k, v := range a.Dimensions {
				in.Dimensions = append(in.Dimensions, watchtypes.Dimension{Name: &k, Value: &v})
			}
			if m == nil { // of one that is there, tags are not changed by this call
				in.Tags = []watchtypes.Tag{{Key: aws.String(Mark), Value: &c.Names.Bucket}}
			}
			_, err = c.watch.PutMetricAlarm(ctx, in)
			return err
		},
	}
}
