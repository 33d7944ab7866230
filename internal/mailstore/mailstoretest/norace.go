//go:build !race

package mailstoretest

const slow = 1
