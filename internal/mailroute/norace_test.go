//go:build !race

package mailroute_test

const raceDetector = false
