package daemon

// Hardening is what keeps the memory of this process private.
type Hardening struct {
	NotDumpable bool `json:"not_dumpable"`
	NoCore      bool `json:"no_core"`
	Locked      bool `json:"locked"` // pages are never swapped
}
