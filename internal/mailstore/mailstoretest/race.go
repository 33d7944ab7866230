//go:build race

package mailstoretest

// slow divides the messages of a campaign: the race detector makes all of it
// several times slower, and needs no ten thousand to find two that meet.
const slow = 5
