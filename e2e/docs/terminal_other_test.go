//go:build !linux

package docs

import "os"

type terminal struct{ master, slave *os.File }

func openTerminal() (*terminal, error)    { return nil, errNoTerminal }
func (t *terminal) echoes() (bool, error) { return false, errNoTerminal }
func (t *terminal) close()                {}
