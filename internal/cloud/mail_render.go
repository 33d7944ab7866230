package cloud

import (
	"fmt"
	"maps"
	"slices"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

type notificationProperties struct{ QueueConfigurations []queueNotification }

type queueNotification struct {
	Event  string
	Queue  string
	Filter keyFilter
}

type keyFilter struct {
	S3Key struct{ Rules []filterRule }
}

type filterRule struct{ Name, Value string }

func prefixFilter(prefix string) (f keyFilter) {
	f.S3Key.Rules = []filterRule{{"prefix", prefix}}
	return f
}

type logProperties struct {
	LogGroupName    string
	RetentionInDays int32
	Tags            []tag
}

type queueProperties struct {
	QueueName              string
	VisibilityTimeout      int
	MessageRetentionPeriod int
	SqsManagedSseEnabled   bool
	RedrivePolicy          *redrive      `json:",omitempty"`
	RedriveAllowPolicy     *redriveAllow `json:",omitempty"`
	Tags                   []tag
}

type queuePolicyProperties struct {
	Queues         []ref
	PolicyDocument cloudpolicy.Document
}

type functionProperties struct {
	FunctionName                 string
	Description                  string
	Runtime, Handler             string
	Architectures                []string
	Role                         attribute
	MemorySize                   int32
	Timeout                      int32
	Environment                  struct{ Variables map[string]string }
	Code                         struct{ S3Bucket, S3Key ref }
	ReservedConcurrentExecutions int32 `json:",omitempty"`
	Tags                         []tag
}

type sourceProperties struct {
	FunctionName          ref
	EventSourceArn        attribute
	Enabled               bool
	BatchSize             int32
	FunctionResponseTypes []string
	ScalingConfig         struct{ MaximumConcurrency int32 }
}

type alarmProperties struct {
	AlarmName          string
	AlarmDescription   string
	Namespace          string
	MetricName         string
	Dimensions         []dimension `json:",omitempty"`
	Statistic          string
	Period             int32
	EvaluationPeriods  int32
	Threshold          float64
	ComparisonOperator string
	TreatMissingData   string
	AlarmActions       []string `json:",omitempty"`
	Tags               []tag
}

type dimension struct{ Name, Value string }

type identityProperties struct {
	EmailIdentity      string
	MailFromAttributes *mailFromProperties `json:",omitempty"`
}

type mailFromProperties struct{ MailFromDomain, BehaviorOnMxFailure string }

type ruleSetProperties struct{ RuleSetName string }

type ruleProperties struct {
	RuleSetName ref
	Rule        struct {
		Name        string
		Enabled     bool
		ScanEnabled bool
		TlsPolicy   string
		Recipients  []string
		Actions     []ruleAction
	}
}

type ruleAction struct {
	S3Action struct{ BucketName, ObjectKeyPrefix string }
}

// addMail adds the mail part. CloudFormation has no resource that activates a
// rule set, and a stack is in one region: what it leaves to a person stands in
// its description.
func addMail(t *Template, c Config, tags []tag) {
	n, m := c.Names, c.Mail
	cl := &Cloud{Config: c}
	t.Parameters = map[string]Parameter{
		"CodeBucket": {"String", "A bucket in this region that has the mail router's zip"},
		"CodeKey":    {"String", "The zip's key there"},
	}
	add := func(id, kind string, properties any, after ...string) {
		t.Resources = append(t.Resources, NamedResource{id, Resource{Type: kind, DependsOn: after, Properties: properties}})
	}
	add("Log", "AWS::Logs::LogGroup", logProperties{cl.logGroup(), m.LogDays, tags})
	work, dead := n.QueueARN(n.Mail.Queue), n.QueueARN(n.Mail.DeadLetters)
	add("DeadLetters", "AWS::SQS::Queue", queueProperties{
		QueueName: n.Mail.DeadLetters, VisibilityTimeout: 30, MessageRetentionPeriod: keepMessages, SqsManagedSseEnabled: true,
		RedriveAllowPolicy: &redriveAllow{"byQueue", []string{work}}, Tags: tags,
	})
	add("DeadLettersPolicy", "AWS::SQS::QueuePolicy", queuePolicyProperties{[]ref{{"DeadLetters"}}, cloudpolicy.DeadLetterPolicy(n)})
	add("Queue", "AWS::SQS::Queue", queueProperties{
		QueueName: n.Mail.Queue, VisibilityTimeout: m.visibility(), MessageRetentionPeriod: keepMessages, SqsManagedSseEnabled: true,
		RedrivePolicy: &redrive{dead, m.maxReceive()}, Tags: tags,
	}, "DeadLetters")
	add("QueuePolicy", "AWS::SQS::QueuePolicy", queuePolicyProperties{[]ref{{"Queue"}}, cloudpolicy.QueuePolicy(n)})
	want := cl.function()
	function := functionProperties{
		FunctionName: n.RouterFunction(), Description: "AgentKeys mail router, see agentkeys cloud", Runtime: want.Runtime, Handler: want.Handler,
		Architectures: []string{want.Architecture}, Role: attribute{[2]string{"RouterRole", "Arn"}}, MemorySize: want.MemoryMB, Timeout: want.TimeoutSeconds,
		ReservedConcurrentExecutions: m.Reserved, Tags: tags,
	}
	function.Environment.Variables = want.Environment
	function.Code.S3Bucket, function.Code.S3Key = ref{"CodeBucket"}, ref{"CodeKey"}
	add("Router", "AWS::Lambda::Function", function, "Log")
	source := sourceProperties{FunctionName: ref{"Router"}, EventSourceArn: attribute{[2]string{"Queue", "Arn"}}, Enabled: true, BatchSize: m.Batch, FunctionResponseTypes: []string{"ReportBatchItemFailures"}}
	source.ScalingConfig.MaximumConcurrency = m.Concurrency
	add("RouterSource", "AWS::Lambda::EventSourceMapping", source)
	for i, a := range cl.alarms() {
		p := alarmProperties{
			AlarmName: a.Name, AlarmDescription: a.Description, Namespace: a.Namespace, MetricName: a.Metric, Statistic: a.Statistic, Period: a.Seconds,
			EvaluationPeriods: a.Periods, Threshold: a.Above, ComparisonOperator: "GreaterThanThreshold", TreatMissingData: "notBreaching", AlarmActions: a.Tells, Tags: tags,
		}
		for _, k := range slices.Sorted(maps.Keys(a.Dimensions)) {
			p.Dimensions = append(p.Dimensions, dimension{k, a.Dimensions[k]})
		}
		add(fmt.Sprintf("Alarm%d", i+1), "AWS::CloudWatch::Alarm", p)
	}
	if n.SES.Region != n.Region {
		t.Description += fmt.Sprintf(". Mail is received in %s, which this stack is not in: have 'agentkeys cloud apply' make what SES needs", n.SES.Region)
		return
	}
	t.Description += fmt.Sprintf(". Activate receipt rule set %s once the stack is there, and publish what 'agentkeys cloud dns' prints", n.SES.RuleSet)
	for i, d := range m.Domains {
		p := identityProperties{EmailIdentity: d}
		if m.MailFrom != "" {
			p.MailFromAttributes = &mailFromProperties{m.MailFrom + "." + d, "USE_DEFAULT_VALUE"}
		}
		add(fmt.Sprintf("Domain%d", i+1), "AWS::SES::EmailIdentity", p)
	}
	add("RuleSet", "AWS::SES::ReceiptRuleSet", ruleSetProperties{n.SES.RuleSet})
	r := cl.receipt()
	rule := ruleProperties{RuleSetName: ref{"RuleSet"}}
	rule.Rule.Name, rule.Rule.Enabled, rule.Rule.ScanEnabled, rule.Rule.TlsPolicy, rule.Rule.Recipients = n.SES.Rule, r.Enabled, r.Scanned, r.TLS, r.Recipients
	rule.Rule.Actions = make([]ruleAction, 1)
	rule.Rule.Actions[0].S3Action.BucketName, rule.Rule.Actions[0].S3Action.ObjectKeyPrefix = r.Bucket, r.Prefix
	add("Rule", "AWS::SES::ReceiptRule", rule, "BucketPolicy", "RouterSource") // SES writes to the bucket at once
}
