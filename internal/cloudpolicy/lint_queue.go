package cloudpolicy

import (
	"slices"
	"strings"
)

// queueMistakes are about who may put messages into the queue that tells the
// router of mail. What the router then reads is the bucket's, but a forged
// message makes it work, and a flood of them makes it late.
func queueMistakes() []Mistake {
	return []Mistake{
		{"queue-no-account", Error, "S3 acts for all of its customers, and a bucket's name is anybody's once the bucket is deleted: without aws:SourceAccount a stranger's bucket can send here",
			`add "StringEquals": {"aws:SourceAccount": "<account>"}`, senders(func(s Statement) bool {
				values, ok := s.bound("aws:SourceAccount")
				return !ok || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "*?") })
			})},
		{"queue-no-arn", Error, "without aws:SourceArn every bucket of the account can send here, also those that others may write to",
			`add "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::<bucket>"}`, senders(func(s Statement) bool {
				values, ok := s.bound("aws:SourceArn")
				return !ok || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "*?") })
			})},
		{"queue-actions", Error, "a service that tells of something needs to send and nothing else: who receives takes mail away from the router, and who purges loses it",
			"grant sqs:SendMessage only", senders(func(s Statement) bool {
				return slices.ContainsFunc(s.Action, func(a string) bool { return !strings.EqualFold(a, "sqs:SendMessage") && !strings.ContainsAny(a, "*?") })
			})},
		{"queue-no-tls-deny", Error, "requests without TLS are answered, with the names of messages readable on the way",
			`add a Deny for "*" on sqs:* with "Bool": {"aws:SecureTransport": "false"}`, func(l *linted) {
				if l.Kind == Queue && !slices.ContainsFunc(l.Statements, func(s Statement) bool {
					values, ok := s.bound("aws:SecureTransport")
					everybody := s.Principal != nil && (s.Principal.Any || slices.Contains(s.Principal.AWS, "*"))
					return ok && s.Effect == Deny && slices.Equal(values, []string{"false"}) && everybody && s.about("sqs:*") && len(s.Condition) == 1
				}) {
					l.foundAll()
				}
			}},
		{"queue-elsewhere", Error, "a queue's policy speaks about another queue, and the statement says nothing about this one",
			"name the queue that carries the policy", func(l *linted) {
				if l.Kind != Queue {
					return
				}
				first := ""
				statements("", func(l *linted, i int, s Statement) {
					for _, r := range append(slices.Clone(s.Resource), s.NotResource...) {
						if first == "" {
							first = r
						}
						if r != first && r != "*" {
							l.found(i, "Resource")
						}
					}
				})(l)
			}},
		{"takes-from-any-queue", Error, "who may receive from other queues takes their messages away",
			"name the one queue", statements(Allow, func(l *linted, i int, s Statement) {
				for j, r := range s.Resource {
					if parts, ok := splitARN(r); ok && parts[1] == "sqs" && strings.ContainsAny(r, "*?") {
						l.found(i, nth("Resource", s.Resource, j)...)
					}
				}
			})},
	}
}

// senders looks at each statement that lets an AWS service at a queue.
func senders(wrong func(s Statement) bool) func(*linted) {
	return statements(Allow, func(l *linted, i int, s Statement) {
		if l.Kind == Queue && s.Principal != nil && len(s.Principal.Service) > 0 && wrong(s) {
			l.found(i)
		}
	})
}
