package aws

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// tagOfPut is the tag that an object gets which is put or copied. Whoever names
// one must be allowed to, and also who takes one over from what is copied.
func (s *Server) tagOfPut(r *http.Request, key, source string) (string, *fault) {
	tag, directive := r.Header.Get("X-Amz-Tagging"), r.Header.Get("X-Amz-Tagging-Directive")
	denied := refuse(403, "AccessDenied", "no tags")
	switch {
	case source == "" || directive == "REPLACE":
	case tag != "":
		return "", refuse(400, "InvalidArgument", "a tag beside the directive COPY would be overlooked")
	case s.ObjectTags[source] != "":
		if !s.may(r, "s3:GetObjectTagging", source, nil) {
			return "", denied
		}
		tag = s.ObjectTags[source]
	}
	if tag != "" && !s.may(r, "s3:PutObjectTagging", key, nil) {
		return "", denied
	}
	return tag, nil
}

// tagObject is PutObjectTagging.
func (s *Server) tagObject(r *http.Request, key string, body []byte) *fault {
	if r.Method != http.MethodPut {
		return refuse(405, "MethodNotAllowed", "not played")
	}
	action := "s3:PutObjectTagging"
	if r.URL.Query().Has("versionId") {
		action = "s3:PutObjectVersionTagging"
	}
	if !s.may(r, action, key, nil) {
		return refuse(403, "AccessDenied", "no tags")
	}
	var in struct {
		Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := xml.Unmarshal(body, &in); err != nil {
		return refuse(400, "MalformedXML", "%v", err)
	}
	if s.Objects[key] == nil {
		return refuse(404, "NoSuchKey", "there is none")
	}
	v := url.Values{}
	for _, t := range in.Tags {
		v.Set(t.Key, t.Value)
	}
	s.ObjectTags[key] = v.Encode()
	return nil
}

type lifecycleTag struct{ Key, Value string }

type lifecycle struct {
	Rules []struct {
		ID, Status string
		Prefix     string         `xml:"Filter>Prefix"`
		Tag        *lifecycleTag  `xml:"Filter>Tag"`
		AndPrefix  string         `xml:"Filter>And>Prefix"`
		And        []lifecycleTag `xml:"Filter>And>Tag"`
		Days       int            `xml:"Expiration>Days"`
		Markers    bool           `xml:"Expiration>ExpiredObjectDeleteMarker"`
		Abort      int            `xml:"AbortIncompleteMultipartUpload>DaysAfterInitiation"`
	} `xml:"Rule"`
}

// checkLifecycle refuses what S3 does not take in a rule that knows objects by a tag.
func checkLifecycle(body string) *fault {
	var l lifecycle
	if err := xml.Unmarshal([]byte(body), &l); err != nil {
		return refuse(400, "MalformedXML", "%v", err)
	}
	for _, r := range l.Rules {
		switch {
		case r.Tag != nil && (r.Prefix != "" || len(r.And) > 0):
			return refuse(400, "MalformedXML", "%s: a filter has one thing in it", r.ID)
		case (r.Tag != nil || len(r.And) > 0) && (r.Markers || r.Abort > 0):
			return refuse(400, "InvalidRequest", "%s: cannot be specified with tags", r.ID)
		}
	}
	return nil
}

// Expires returns the keys that the bucket's lifecycle removes one day, each
// with the days that it stays.
func (s *Server) Expires() map[string]int {
	var l lifecycle
	_ = xml.Unmarshal([]byte(s.Settings["lifecycle"]), &l) // it was read before
	days := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(s.Objects)) {
		tags, _ := url.ParseQuery(s.ObjectTags[key])
		for _, r := range l.Rules {
			want := slices.Clone(r.And)
			if r.Tag != nil {
				want = append(want, *r.Tag)
			}
			missing := slices.ContainsFunc(want, func(t lifecycleTag) bool { return !tags.Has(t.Key) || tags.Get(t.Key) != t.Value })
			if r.Status == "Enabled" && r.Days > 0 && strings.HasPrefix(key, r.Prefix+r.AndPrefix) && !missing && (days[key] == 0 || r.Days < days[key]) {
				days[key] = r.Days
			}
		}
	}
	return days
}
