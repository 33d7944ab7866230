package cloud

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func (c *Cloud) logGroup() string { return "/aws/lambda/" + c.Names.RouterFunction() }

// logPart makes the function's log before the function writes any: the role may
// not make one, and one that Lambda made would keep lines for ever.
func (c *Cloud) logPart() part {
	name := c.logGroup()
	return part{
		name: "log " + name, want: strconv.Itoa(int(c.Mail.LogDays)) + " days\n",
		read: func(ctx context.Context) (string, error) {
			there, days, err := c.findLog(ctx)
			if !there || err != nil {
				return "", err
			}
			return strconv.Itoa(int(days)) + " days\n", nil
		},
		write: func(ctx context.Context) error {
			there, _, err := c.findLog(ctx)
			if err != nil {
				return err
			}
			if !there {
				if _, err := c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name, Tags: map[string]string{Mark: c.Names.Bucket}}); err != nil {
					return err
				}
			}
			_, err = c.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &name, RetentionInDays: &c.Mail.LogDays})
			return err
		},
	}
}

// findLog returns how long the log is kept, in days; 0 is for ever.
func (c *Cloud) findLog(ctx context.Context) (there bool, days int32, err error) {
	name := c.logGroup()
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(c.logs, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, 0, err
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) != name {
				continue
			}
			arn := "arn:" + c.Names.Partition + ":logs:" + c.Names.Region + ":" + c.Names.Account + ":log-group:" + name
			tags, err := c.logs.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
			if err != nil {
				return false, 0, err
			}
			return true, aws.ToInt32(g.RetentionInDays), c.mustBeOurs(tags.Tags, "mail.function.name")
		}
	}
	return false, 0, nil
}

// functionSettings are the function's, as they are compared.
type functionSettings struct {
	Runtime, Handler string
	Architecture     string
	Role             string
	MemoryMB         int32
	TimeoutSeconds   int32
	Environment      map[string]string
}

func (c *Cloud) function() functionSettings {
	return functionSettings{
		Runtime: string(lambdatypes.RuntimeProvidedal2023), Handler: program, Architecture: c.architecture(), Role: c.Names.RoleARN(c.Names.RouterRole),
		MemoryMB: c.Mail.MemoryMB, TimeoutSeconds: c.Mail.Seconds, Environment: c.environment(),
	}
}

// architecture is Lambda's word for it.
func (c *Cloud) architecture() string {
	if c.Mail.Architecture == "amd64" {
		return string(lambdatypes.ArchitectureX8664)
	}
	return string(lambdatypes.ArchitectureArm64)
}

// environment is what cmd/mailrouter reads. It names every limit, so that one
// that somebody changed by hand is seen. AGENTKEYS_S3_COMPATIBLE is not there:
// at AWS the router tags what it writes.
func (c *Cloud) environment() map[string]string {
	return map[string]string{
		"AGENTKEYS_BUCKET": c.Names.Bucket, "AGENTKEYS_MAIL_DOMAINS": strings.Join(c.Mail.Domains, ","), "AGENTKEYS_MAIL_TAGS": strings.Join(c.Mail.Tags, ","),
		"AGENTKEYS_REMOVE_SOURCE":            strconv.FormatBool(c.Names.Mail.RemoveSource),
		"AGENTKEYS_WALLET_MESSAGES_PER_HOUR": strconv.Itoa(int(c.Mail.WalletPerHour)),
		"AGENTKEYS_SENDER_MESSAGES_PER_HOUR": strconv.Itoa(int(c.Mail.SenderPerHour)),
	}
}

// getFunction returns the function if it is ours, nil if there is none.
func (c *Cloud) getFunction(ctx context.Context) (*lambda.GetFunctionOutput, error) {
	out, err := c.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(c.Names.RouterFunction())})
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.mustBeOurs(out.Tags, "mail.function.name"); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Cloud) functionParts() []part {
	if c.Compatible != "" {
		name := "function " + c.Names.RouterFunction()
		return []part{{name: name}, {name: name + ": code"}, {name: name + ": reserved concurrency"}}
	}
	name := c.Names.RouterFunction()
	want := c.function()
	settings := part{
		name: "function " + name, want: pretty(want),
		read: func(ctx context.Context) (string, error) {
			f, err := c.getFunction(ctx)
			if f == nil || err != nil {
				return "", err
			}
			conf := f.Configuration
			have := functionSettings{
				Runtime: string(conf.Runtime), Handler: aws.ToString(conf.Handler), Role: aws.ToString(conf.Role), MemoryMB: aws.ToInt32(conf.MemorySize),
				TimeoutSeconds: aws.ToInt32(conf.Timeout), Environment: map[string]string{},
			}
			if len(conf.Architectures) > 0 {
				have.Architecture = string(conf.Architectures[0])
			}
			if conf.Environment != nil {
				have.Environment = conf.Environment.Variables
			}
			return pretty(have), nil
		},
	}
	settings.write = func(ctx context.Context) error {
		f, err := c.getFunction(ctx)
		if err != nil {
			return err
		}
		env := &lambdatypes.Environment{Variables: want.Environment}
		if f == nil {
			_, err := c.lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{
				FunctionName: &name, Description: aws.String("AgentKeys mail router, see agentkeys cloud"), PackageType: lambdatypes.PackageTypeZip,
				Runtime: lambdatypes.Runtime(want.Runtime), Handler: &want.Handler, Architectures: []lambdatypes.Architecture{lambdatypes.Architecture(want.Architecture)},
				Role: &want.Role, MemorySize: &want.MemoryMB, Timeout: &want.TimeoutSeconds, Environment: env,
				Code: &lambdatypes.FunctionCode{ZipFile: c.code.zip}, Tags: map[string]string{Mark: c.Names.Bucket},
			})
			return err
		}
		if len(f.Configuration.Architectures) > 0 && string(f.Configuration.Architectures[0]) != want.Architecture {
			// The machine comes with the code, in one call.
			if err := c.updateCode(ctx); err != nil {
				return err
			}
		}
		return c.settle(ctx, func() error {
			_, err := c.lambda.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
				FunctionName: &name, Runtime: lambdatypes.Runtime(want.Runtime), Handler: &want.Handler, Role: &want.Role,
				MemorySize: &want.MemoryMB, Timeout: &want.TimeoutSeconds, Environment: env,
			})
			return err
		})
	}
	code := part{
		name: settings.name + ": code", want: "sha256 " + c.code.sha256 + "\n",
		read: func(ctx context.Context) (string, error) {
			f, err := c.getFunction(ctx)
			if f == nil || err != nil {
				return "", err
			}
			return "sha256 " + aws.ToString(f.Configuration.CodeSha256) + "\n", nil
		},
		write: c.updateCode,
	}
	return []part{settings, code, c.concurrencyPart(settings.name)}
}

func (c *Cloud) updateCode(ctx context.Context) error {
	_, err := c.lambda.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
		FunctionName: aws.String(c.Names.RouterFunction()), ZipFile: c.code.zip, Architectures: []lambdatypes.Architecture{lambdatypes.Architecture(c.architecture())},
	})
	return err
}

// concurrencyPart reserves some of the account's concurrency. Without it, one
// that is there is taken away: 0 would stop all mail.
func (c *Cloud) concurrencyPart(name string) part {
	function := c.Names.RouterFunction()
	want := ""
	if c.Mail.Reserved > 0 {
		want = strconv.Itoa(int(c.Mail.Reserved)) + "\n"
	}
	return part{
		name: name + ": reserved concurrency", want: want,
		read: func(ctx context.Context) (string, error) {
			out, err := c.lambda.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: &function})
			if isMissing(err) || err == nil && out.ReservedConcurrentExecutions == nil {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return strconv.Itoa(int(*out.ReservedConcurrentExecutions)) + "\n", nil
		},
		write: func(ctx context.Context) error {
			if c.Mail.Reserved == 0 {
				_, err := c.lambda.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: &function})
				return err
			}
			_, err := c.lambda.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: &function, ReservedConcurrentExecutions: &c.Mail.Reserved})
			return err
		},
	}
}

// source is what feeds the function, as it is compared.
type source struct {
	Queue       string
	Enabled     bool
	BatchSize   int32
	Concurrency int32
	Reports     []string
}

// mapping returns the one between our queue and our function, nil if there is
// none.
func (c *Cloud) mapping(ctx context.Context) (*lambdatypes.EventSourceMappingConfiguration, error) {
	pages := lambda.NewListEventSourceMappingsPaginator(c.lambda, &lambda.ListEventSourceMappingsInput{
		FunctionName: aws.String(c.Names.RouterFunction()), EventSourceArn: aws.String(c.Names.QueueARN(c.Names.Mail.Queue)),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isMissing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, m := range page.EventSourceMappings {
			if aws.ToString(m.State) != "Deleting" {
				return &m, nil
			}
		}
	}
	return nil, nil
}

func (c *Cloud) mappingPart() part {
	queue, function := c.Names.QueueARN(c.Names.Mail.Queue), c.Names.RouterFunction()
	reports := []lambdatypes.FunctionResponseType{lambdatypes.FunctionResponseTypeReportBatchItemFailures}
	return part{
		name: "function " + function + ": source", want: pretty(source{queue, true, c.Mail.Batch, c.Mail.Concurrency, []string{string(reports[0])}}),
		read: func(ctx context.Context) (string, error) {
			m, err := c.mapping(ctx)
			if m == nil || err != nil {
				return "", err
			}
			have := source{Queue: queue, BatchSize: aws.ToInt32(m.BatchSize)}
			have.Enabled = slices.Contains([]string{"Enabled", "Enabling", "Creating", "Updating"}, aws.ToString(m.State))
			if m.ScalingConfig != nil {
				have.Concurrency = aws.ToInt32(m.ScalingConfig.MaximumConcurrency)
			}
			for _, r := range m.FunctionResponseTypes {
				have.Reports = append(have.Reports, string(r))
			}
			return pretty(have), nil
		},
		write: func(ctx context.Context) error {
			m, err := c.mapping(ctx)
			if err != nil {
				return err
			}
			scaling := &lambdatypes.ScalingConfig{MaximumConcurrency: &c.Mail.Concurrency}
			if m != nil {
				_, err = c.lambda.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{
					UUID: m.UUID, Enabled: aws.Bool(true), BatchSize: &c.Mail.Batch, ScalingConfig: scaling, FunctionResponseTypes: reports,
				})
				return err
			}
			_, err = c.lambda.CreateEventSourceMapping(ctx, &lambda.CreateEventSourceMappingInput{
				FunctionName: &function, EventSourceArn: &queue, Enabled: aws.Bool(true), BatchSize: &c.Mail.Batch, ScalingConfig: scaling,
				FunctionResponseTypes: reports, Tags: map[string]string{Mark: c.Names.Bucket},
			})
			return err
		},
	}
}
