// Command mailrouter is the mail router as an AWS Lambda function, on
// provided.al2023: called with events that tell of mail in a bucket, it brings
// each message to the inbox of its wallet. It is wiring: sesmail reads events,
// mailrouter decides, s3mail reads and copies.
//
// Laws:
//   - An item that was not done for certain is reported to have failed, so that
//     the platform brings it again; whatever befalls one leaves the others be.
//   - Settings come from the environment, are checked before the first event,
//     and all that is wrong with them is said at once.
//   - It starts fast, since it may be started for one message: no catalogue, no
//     YAML, no regular expression.
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	h, err := newHandler(os.Environ(), os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mailrouter cannot start:\n%v\n", err)
		os.Exit(1)
	}
	lambda.StartWithOptions(h)
}
