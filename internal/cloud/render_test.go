package cloud

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

func awsConfig() Config {
	return Config{
		Names: cloudpolicy.Names{
			Partition: "aws", Account: "012345678901", Region: "eu-central-1", Bucket: "agentkeys-example", Issuer: "https://broker.example.com",
			DataRole: "agentkeys-data", BrokerRole: "agentkeys-broker", RouterRole: "agentkeys-router", Broker: "ecs-tasks.amazonaws.com",
			SES: cloudpolicy.SES{Region: "eu-west-1", Account: "012345678901", RuleSet: "agentkeys", Rule: "inbound", Identity: "example.com"},
		},
		MailDays: 30, VersionDays: 30,
	}
}

// properties are those of each type that CloudFormation's resource
// specification has and this template may use.
var properties = map[string][]string{
	"AWS::IAM::OIDCProvider": {"Url", "ClientIdList", "ThumbprintList", "Tags"},
	"AWS::IAM::Role":         {"RoleName", "Description", "AssumeRolePolicyDocument", "MaxSessionDuration", "Policies", "ManagedPolicyArns", "Path", "PermissionsBoundary", "Tags"},
	"AWS::S3::Bucket":        {"BucketName", "OwnershipControls", "PublicAccessBlockConfiguration", "VersioningConfiguration", "BucketEncryption", "LifecycleConfiguration", "NotificationConfiguration", "Tags"},
	"AWS::S3::BucketPolicy":  {"Bucket", "PolicyDocument"},
	"AWS::SQS::Queue":        {"QueueName", "VisibilityTimeout", "MessageRetentionPeriod", "SqsManagedSseEnabled", "RedrivePolicy", "RedriveAllowPolicy", "Tags"},
	"AWS::SQS::QueuePolicy":  {"Queues", "PolicyDocument"},
	"AWS::Logs::LogGroup":    {"LogGroupName", "RetentionInDays", "Tags"},
	"AWS::Lambda::Function": {"FunctionName", "Description", "Runtime", "Handler", "Architectures", "Role", "MemorySize", "Timeout", "Environment", "Code",
		"ReservedConcurrentExecutions", "Tags"},
	"AWS::Lambda::EventSourceMapping": {"FunctionName", "EventSourceArn", "Enabled", "BatchSize", "FunctionResponseTypes", "ScalingConfig", "Tags"},
	"AWS::CloudWatch::Alarm": {"AlarmName", "AlarmDescription", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods", "Threshold",
		"ComparisonOperator", "TreatMissingData", "AlarmActions", "Tags"},
	"AWS::SES::EmailIdentity":  {"EmailIdentity", "MailFromAttributes"},
	"AWS::SES::ReceiptRuleSet": {"RuleSetName"},
	"AWS::SES::ReceiptRule":    {"RuleSetName", "Rule"},
}

func TestCloudFormation(t *testing.T) {
	without := awsConfig()
	here := withMail(t, awsConfig())
	here.Names.SES.Region = here.Names.Region
	for name, c := range map[string]struct {
		config                       Config
		references, files, resources int
	}{"without mail": {without, 5, 10, 6}, "with mail": {here, 13, 12, 22}, "with mail received elsewhere": {withMail(t, awsConfig()), 12, 12, 18}} {
		t.Run(name, func(t *testing.T) { testCloudFormation(t, c.config, c.references, c.files, c.resources) })
	}
}

func testCloudFormation(t *testing.T, config Config, references, fileCount, resourceCount int) {
	files, err := Render(config)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]string{}
	for _, f := range files {
		byName[f.Name] = f.Text
	}
	var fromJSON, fromYAML map[string]any
	if err := json.Unmarshal([]byte(byName["cloudformation.json"]), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(byName["cloudformation.yaml"]), &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(fromYAML)
	var viaJSON map[string]any
	_ = json.Unmarshal(again, &viaJSON)
	if !reflect.DeepEqual(viaJSON, fromJSON) {
		t.Error("YAML and JSON say different things")
	}
	if strings.Contains(byName["cloudformation.yaml"], "{") && !strings.Contains(byName["cloudformation.yaml"], "${aws:PrincipalTag/") {
		t.Error("the YAML is JSON")
	}
	for _, quoted := range []string{`"2012-10-17"`, `"012345678901"`, `"2010-09-09"`} {
		if !strings.Contains(byName["cloudformation.yaml"], quoted) {
			t.Errorf("%s is not quoted: other readers make a number or a date of it", quoted)
		}
	}

	resources := fromJSON["Resources"].(map[string]any)
	for id, v := range resources {
		r := v.(map[string]any)
		known, ok := properties[r["Type"].(string)]
		if !ok {
			t.Errorf("%s: there is no type %s", id, r["Type"])
		}
		for p := range r["Properties"].(map[string]any) {
			if !slices.Contains(known, p) {
				t.Errorf("%s has no property %s", id, p)
			}
		}
		for k := range r {
			if !slices.Contains([]string{"Type", "Properties", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy"}, k) {
				t.Errorf("%s: no attribute %s", id, k)
			}
		}
		after, _ := r["DependsOn"].([]any)
		for _, d := range after {
			if resources[d.(string)] == nil {
				t.Errorf("%s depends on %s, which is not there", id, d)
			}
		}
	}
	parameters, _ := fromJSON["Parameters"].(map[string]any)
	found := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			target := ""
			if s, ok := v["Ref"].(string); ok {
				target = s
			}
			if l, ok := v["Fn::GetAtt"].([]any); ok {
				if target = l[0].(string); l[1] != "Arn" {
					t.Errorf("%s has no attribute %v", target, l[1])
				}
			}
			if target != "" {
				found++
				if resources[target] == nil && parameters[target] == nil {
					t.Errorf("nothing is called %s", target)
				}
			}
			for _, c := range v {
				walk(c)
			}
		case []any:
			for _, c := range v {
				walk(c)
			}
		}
	}
	walk(fromJSON)
	if found != references || len(resources) != resourceCount {
		t.Errorf("%d references, %d resources", found, len(resources))
	}
	if b := resources["Bucket"].(map[string]any); b["DeletionPolicy"] != "Retain" || b["UpdateReplacePolicy"] != "Retain" {
		t.Error("the bucket goes with its stack")
	}

	// The statements are those of the documents.
	equal := func(file string, got any) {
		t.Helper()
		var want any
		if err := json.Unmarshal([]byte(byName[file]), &want); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the template differs from %s", file)
		}
	}
	property := func(id, name string) any {
		return resources[id].(map[string]any)["Properties"].(map[string]any)[name]
	}
	for id, file := range map[string]string{"DataRole": "data", "BrokerRole": "broker", "RouterRole": "router"} {
		equal(file+"-trust.json", property(id, "AssumeRolePolicyDocument"))
		policies := property(id, "Policies").([]any)
		if len(policies) != 1 {
			t.Errorf("%s has %d policies", id, len(policies))
		}
		equal(file+"-permissions.json", policies[0].(map[string]any)["PolicyDocument"])
	}
	equal("bucket.json", property("BucketPolicy", "PolicyDocument"))
	equal("public-access-block.json", property("Bucket", "PublicAccessBlockConfiguration"))
	if config.Mail != nil {
		equal("queue.json", property("QueuePolicy", "PolicyDocument"))
		equal("dead-letters.json", property("DeadLettersPolicy", "PolicyDocument"))
	}
	// What is compared by nothing else.
	text := byName["cloudformation.json"]
	wants := []string{`{"ExpirationInDays":30,"Id":"agentkeys-mail","Prefix":"inbound/","Status":"Enabled"}`,
		`{"ExpirationInDays":30,"Id":"agentkeys-sorted","Status":"Enabled","TagFilters":[{"Key":"agentkeys","Value":"mail"}]}`}
	if config.Mail != nil {
		wants = append(wants, `"maxReceiveCount":120`, `"VisibilityTimeout":180`, `"AGENTKEYS_WALLET_MESSAGES_PER_HOUR":"120"`)
	}
	sorted, err := json.Marshal(fromJSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range wants {
		if !strings.Contains(string(sorted), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if len(files) != fileCount {
		t.Errorf("%d files", len(files))
	}
}

func TestDiff(t *testing.T) {
	have := "a\nb\nc\nd\ne\nf\ng\nh\n"
	want := "a\nb\nc\nd\ne\nf\nG\nh\n"
	if got := Diff(have, want); got != "  …\n  d\n  e\n  f\n- g\n+ G\n  h" {
		t.Errorf("%s", got)
	}
	if got := Diff("", "x\n"); got != "+ x" {
		t.Errorf("%q", got)
	}
	if got := Diff("x\n", ""); got != "- x" {
		t.Errorf("%q", got)
	}
}

func TestWalletOfToken(t *testing.T) {
	// {"sub":"agentkeys:wallet:0xa1…"}, {"sub":"x"}
	good := "e30.eyJzdWIiOiJhZ2VudGtleXM6d2FsbGV0OjB4YTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMSJ9.sig"
	if w, err := WalletOfToken(good + "\n"); err != nil || w != walletA {
		t.Errorf("%v, %v", w, err)
	}
	other := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"other:wallet:`+walletA.String()+`"}`)) + ".x"
	for _, bad := range []string{other, "", "a.b", "a.b.c", "e30.eyJzdWIiOiJ4In0.x", "SECRET.SECRET.SECRET"} {
		if _, err := WalletOfToken(bad); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
