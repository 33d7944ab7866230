//go:build race

package mailroute_test

// raceDetector: nothing here runs at once with anything, so a tenth of the work
// is enough for it.
const raceDetector = true
