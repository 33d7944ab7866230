package awssts

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// quick is the call in one request that the SDK's client has not seen, which
// takes as much processor time again around it. It is an unsigned form. What is
// neither a session nor a refusal is left to the client, which asks again with
// all its patience.
type quick struct {
	url    string // by the SDK's own rules
	client aws.HTTPClient
}

func newQuick(c Config, client aws.HTTPClient) (*quick, error) {
	p := sts.EndpointParameters{Region: &c.Region}.WithDefaults()
	if c.Endpoint != "" {
		p.Endpoint = &c.Endpoint
	}
	e, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &quick{strings.TrimSuffix(e.URI.String(), "/") + "/", client}, nil
}

// reply is what STS answers, either of the two.
type reply struct {
	Credentials struct {
		AccessKeyID, SecretAccessKey, SessionToken string
		Expiration                                 time.Time
	}
	Code, Message string
}

// ask returns ok if the reply is a whole session or a refusal.
func (q *quick) ask(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (r reply, ok bool) {
	form := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {*in.RoleArn}, "RoleSessionName": {*in.RoleSessionName}, "WebIdentityToken": {*in.WebIdentityToken},
		"DurationSeconds": {fmt.Sprint(*in.DurationSeconds)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(form.Encode()))
	if err != nil {
		return reply{}, false
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "User-Agent": {"agentkeys"}}
	res, err := q.client.Do(req)
	if err != nil {
		return reply{}, false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return reply{}, false
	}
	var x struct {
		ID         string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
		Secret     string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
		Token      string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
		Expiration string `xml:"AssumeRoleWithWebIdentityResult>Credentials>Expiration"`
		Code       string `xml:"Error>Code"`
		Message    string `xml:"Error>Message"`
	}
	if err := xml.Unmarshal(body, &x); err != nil {
		return reply{}, false
	}
	if res.StatusCode == http.StatusOK {
		c := &r.Credentials
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = x.ID, x.Secret, x.Token
		c.Expiration, err = time.Parse(time.RFC3339, x.Expiration)
		return r, err == nil && x.ID != "" && x.Secret != "" && x.Token != ""
	}
	r.Code, r.Message = x.Code, x.Message
	return r, res.StatusCode >= 400 && res.StatusCode < 500 && x.Code != "" && !temporary[x.Code]
}
