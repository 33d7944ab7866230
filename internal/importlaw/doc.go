// Package importlaw owns the laws about which package may know which, as tests.
// Each law has its reason, and one that has nothing left to forbid or to allow
// fails too, so that the list stays true. It depends on nothing of the module.
package importlaw
