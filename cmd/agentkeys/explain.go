package main

import (
	"errors"
	"syscall"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/keychain"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
)

// causes are the failures of starting, with what to do about each.
var causes = []struct {
	is   error
	exit int
	code string
	fix  string
}{
	{syscall.ENOSPC, exitDisk, "disk", "free some space on the disk and try again; nothing that was stored is lost"},
	{syscall.EIO, exitDisk, "disk", "the disk fails: copy what is on it to another, and set AGENTKEYS_HOME to it"},
	{syscall.EROFS, exitDisk, "disk", "the disk is mounted read-only; set AGENTKEYS_HOME to a directory that can be written"},
	{signer.ErrPassphrase, exitLocked, "passphrase", "try again; there is no way to recover a forgotten passphrase"},
	{signer.ErrExposed, exitLocked, "exposed", "chmod 600 the file it names"},
	{signer.ErrWorkFactor, exitCorrupt, "corrupt", "this is not a file that agentkeys wrote: restore roots.age from a backup"},
	{signer.ErrCorrupt, exitCorrupt, "corrupt", "restore roots.age from a backup; without it the stored keys cannot be opened"},
	{keychain.ErrLocked, exitLocked, "locked", "unlock the OS keychain and try again"},
	{keychain.ErrNotFound, exitLocked, "locked", "the keychain entry is gone: restore the keychain, or begin anew in another AGENTKEYS_HOME"},
	{keychain.ErrDamaged, exitCorrupt, "corrupt", "restore the keychain from a backup; without it the stored keys cannot be opened"},
	{keychain.ErrUnavailable, exitLocked, "no-keychain", "start your desktop session's keychain, or give --passphrase-file FILE at the first start"},
	{audit.ErrCorrupt, exitCorrupt, "corrupt", "run 'agentkeys audit verify' to see what is wrong; restore the log from a backup"},
	{local.ErrLogShort, exitCorrupt, "corrupt", "restore the log from a backup; to go on without what is gone, and with budgets counted from zero, remove ledger.json beside it"},
	{book.ErrCorrupt, exitCorrupt, "corrupt", "restore the file it names from a backup, or remove it: what it granted is then gone"},
	{local.ErrConfig, exitCorrupt, "config", "mend or remove the file it names"},
	{local.ErrPort, exitConflict, "port", "end the program that has the port, or choose another with --port; agents that run must be started anew then"},
}

// explain gives a failure of starting its cure.
func explain(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	for _, c := range causes {
		if errors.Is(err, c.is) {
			return &problem{err: err, fix: c.fix, code: c.code, exit: c.exit}
		}
	}
	return classify(err)
}

func explainOrNil(err error) error {
	if err == nil {
		return nil
	}
	return explain(err)
}
