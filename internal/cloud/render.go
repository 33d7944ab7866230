package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// File is a rendered document.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Render is all that the cloud is told, as files: each policy, and for AWS the
// whole as a CloudFormation template, in YAML and in JSON. The same
// configuration gives the same bytes. With wallets, the policies are unrolled:
// for a server that knows session tags and substitutes no variables.
func Render(c Config, unrolled ...agentkeys.Wallet) ([]File, error) {
	var files []File
	if len(unrolled) > 0 {
		for _, d := range cloudpolicy.All(c.Names, cloudpolicy.Unrolled(unrolled...)) {
			files = append(files, File{d.Name + ".json", string(d.Indented())})
		}
		return files, nil
	}
	if c.Compatible == VersityGW {
		for _, w := range c.Wallets {
			form := cloudpolicy.Bare(w)
			files = append(files,
				File{c.Names.WalletRole(w) + "-trust.json", string(cloudpolicy.DataTrust(c.Names, form).Indented())},
				File{c.Names.WalletRole(w) + "-permissions.json", string(cloudpolicy.DataPermissions(c.Names, form).Indented())})
		}
		return append(files,
			File{"broker-permissions.json", string(cloudpolicy.BrokerPermissions(c.Names).Indented())},
			File{"bucket.json", string(cloudpolicy.BucketPolicy(c.Names, c.form()).Indented())}), nil
	}
	for _, d := range c.Documents() {
		files = append(files, File{d.Name + ".json", string(d.Indented())})
	}
	files = append(files, File{"public-access-block.json", pretty(cloudpolicy.NoPublicAccess())})
	asJSON := pretty(CloudFormation(c))
	asYAML, err := yamlOf(asJSON)
	if err != nil {
		return nil, fmt.Errorf("cloudformation: %w", err)
	}
	return append(files, File{"cloudformation.json", asJSON}, File{"cloudformation.yaml", asYAML}), nil
}

// yamlOf turns JSON into YAML in the same order. Strings that YAML would read
// as something else, such as account ids and dates, stay quoted.
func yamlOf(text string) (string, error) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return "", err
	}
	block(&n)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return "", err
	}
	return out.String(), enc.Close()
}

// block drops the flow style of JSON; a string stays one by its tag.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

// Template is a CloudFormation template.
type Template struct {
	AWSTemplateFormatVersion string
	Description              string
	Parameters               map[string]Parameter `json:",omitempty"`
	Resources                Resources
	Outputs                  map[string]Output
}

// Parameter is what is given when the template is used.
type Parameter struct{ Type, Description string }

// Resources are those of the template, in order.
type Resources []NamedResource

// NamedResource is a resource and its logical id.
type NamedResource struct {
	ID string
	Resource
}

// MarshalJSON implements json.Marshaler: an object in the order of the list.
func (list Resources) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for i, r := range list {
		out.WriteByte("{,"[min(i, 1)])
		if err := enc.Encode(r.ID); err != nil {
			return nil, err
		}
		out.WriteByte(':')
		if err := enc.Encode(r.Resource); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Resource is one of CloudFormation's.
type Resource struct {
	Type                string
	DeletionPolicy      string   `json:",omitempty"`
	UpdateReplacePolicy string   `json:",omitempty"`
	DependsOn           []string `json:",omitempty"`
	Properties          any
}

// Output is what other templates or people need to know.
type Output struct {
	Description string
	Value       any
}

type ref struct{ Ref string }

type attribute struct {
	Of [2]string `json:"Fn::GetAtt"`
}

type tag struct{ Key, Value string }

type providerProperties struct {
	URL          string   `json:"Url"`
	ClientIDList []string `json:"ClientIdList"`
	Thumbprints  []string `json:"ThumbprintList,omitempty"`
	Tags         []tag
}

type roleProperties struct {
	RoleName                 string
	Description              string
	AssumeRolePolicyDocument cloudpolicy.Document
	MaxSessionDuration       int
	Policies                 []inlinePolicy
	Tags                     []tag
}

type inlinePolicy struct {
	PolicyName     string
	PolicyDocument cloudpolicy.Document
}

type bucketProperties struct {
	BucketName        string
	OwnershipControls struct {
		Rules []ownershipRule
	}
	PublicAccessBlockConfiguration cloudpolicy.PublicAccessBlock
	VersioningConfiguration        struct{ Status string }
	BucketEncryption               struct {
		ServerSideEncryptionConfiguration []encryptionRule
	}
	LifecycleConfiguration struct {
		Rules []lifecycleRule
	}
	NotificationConfiguration *notificationProperties `json:",omitempty"`
	Tags                      []tag
}

type ownershipRule struct{ ObjectOwnership string }

type encryptionRule struct {
	ServerSideEncryptionByDefault struct{ SSEAlgorithm string }
}

type lifecycleRule struct {
	ID                             string `json:"Id"`
	Status                         string
	Prefix                         string         `json:",omitempty"`
	TagFilters                     []tag          `json:",omitempty"`
	ExpirationInDays               int32          `json:",omitempty"`
	ExpiredObjectDeleteMarker      bool           `json:",omitempty"`
	NoncurrentVersionExpiration    *noncurrent    `json:",omitempty"`
	AbortIncompleteMultipartUpload *abortedUpload `json:",omitempty"`
}

type noncurrent struct{ NoncurrentDays int32 }

type abortedUpload struct{ DaysAfterInitiation int32 }

type bucketPolicyProperties struct {
	Bucket         ref
	PolicyDocument cloudpolicy.Document
}

// CloudFormation is the cloud of c as a template. The bucket outlives its
// stack: it holds credentials.
func CloudFormation(c Config) Template {
	n, form := c.Names, cloudpolicy.Variables()
	tags := []tag{{Mark, n.Bucket}}
	role := func(name string, trust, permissions cloudpolicy.Document, after ...string) Resource {
		return Resource{Type: "AWS::IAM::Role", DependsOn: after, Properties: roleProperties{
			RoleName: name, Description: "AgentKeys, see agentkeys cloud", AssumeRolePolicyDocument: trust, MaxSessionDuration: maxSession,
			Policies: []inlinePolicy{{ourPolicy, permissions}}, Tags: tags,
		}}
	}
	provider := providerProperties{URL: n.Issuer, ClientIDList: []string{cloudpolicy.Audience}, Tags: tags}
	if c.Thumbprint != "" {
		provider.Thumbprints = []string{c.Thumbprint}
	}
	bucket := bucketProperties{BucketName: n.Bucket, PublicAccessBlockConfiguration: cloudpolicy.NoPublicAccess(), Tags: tags}
	bucket.OwnershipControls.Rules = []ownershipRule{{"BucketOwnerEnforced"}}
	bucket.VersioningConfiguration.Status = "Enabled"
	bucket.BucketEncryption.ServerSideEncryptionConfiguration = make([]encryptionRule, 1)
	bucket.BucketEncryption.ServerSideEncryptionConfiguration[0].ServerSideEncryptionByDefault.SSEAlgorithm = "AES256"
	for _, r := range (&Cloud{Config: c}).rules() {
		l := lifecycleRule{ID: r.ID, Status: "Enabled", Prefix: r.Prefix, ExpirationInDays: r.ExpireDays}
		if key, value, ok := strings.Cut(r.Tag, "="); ok {
			l.TagFilters = []tag{{key, value}}
		}
		if r.VersionDays > 0 {
			l.NoncurrentVersionExpiration, l.ExpiredObjectDeleteMarker = &noncurrent{r.VersionDays}, true
		}
		if r.AbortUploadDays > 0 {
			l.AbortIncompleteMultipartUpload = &abortedUpload{r.AbortUploadDays}
		}
		bucket.LifecycleConfiguration.Rules = append(bucket.LifecycleConfiguration.Rules, l)
	}
	t := Template{
		AWSTemplateFormatVersion: "2010-09-09",
		Description:              "AgentKeys: one bucket in which the cloud itself keeps wallets apart",
		Outputs: map[string]Output{
			"BucketName":    {"Where credentials and mail are", ref{"Bucket"}},
			"DataRoleArn":   {"What a wallet's session takes", attribute{[2]string{"DataRole", "Arn"}}},
			"BrokerRoleArn": {"What the broker takes", attribute{[2]string{"BrokerRole", "Arn"}}},
			"RouterRoleArn": {"What the mail router runs as", attribute{[2]string{"RouterRole", "Arn"}}},
		},
	}
	var after []string
	if c.Mail != nil {
		bucket.NotificationConfiguration = &notificationProperties{[]queueNotification{{Event: arrivals, Queue: n.QueueARN(n.Mail.Queue), Filter: prefixFilter(inbound)}}}
		after = []string{"QueuePolicy"} // S3 asks at once whether it may send
	}
	t.Resources = Resources{
		{"IdentityProvider", Resource{Type: "AWS::IAM::OIDCProvider", Properties: provider}},
		{"DataRole", role(n.DataRole, cloudpolicy.DataTrust(n, form), cloudpolicy.DataPermissions(n, form), "IdentityProvider")},
		{"BrokerRole", role(n.BrokerRole, cloudpolicy.BrokerTrust(n), cloudpolicy.BrokerPermissions(n))},
		{"RouterRole", role(n.RouterRole, cloudpolicy.RouterTrust(n), cloudpolicy.RouterPermissions(n))},
		{"Bucket", Resource{Type: "AWS::S3::Bucket", DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain", DependsOn: after, Properties: bucket}},
		{"BucketPolicy", Resource{Type: "AWS::S3::BucketPolicy", Properties: bucketPolicyProperties{ref{"Bucket"}, cloudpolicy.BucketPolicy(n, form)}}},
	}
	if c.Mail != nil {
		addMail(&t, c, tags)
	}
	return t
}

// pretty is a value as JSON, for comparing, showing and rendering.
func pretty(v any) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // these types always marshal
	}
	return out.String()
}
