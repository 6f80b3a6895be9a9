package rotation

import "fmt"

// LedgerHealth is how work with the ledger goes, as of the last sync of each robot that needs it.
type LedgerHealth struct {
	Robots  int   // with the strategy regenerate; no others need a ledger
	Without int   // of these, for which it could not be used
	Err     error // why not, for the first of them by name; nil: there is none
}

// Ledger returns how work with the ledger goes. A robot whose record cannot be read or written is served, but not rotated.
func (e *Engine) Ledger() LedgerHealth {
	var h LedgerHealth
	for _, s := range e.Statuses() {
		if s.Spec.Strategy != Regenerate {
			continue
		}
		h.Robots++
		trouble := s.Ledger
		if e.config.Ledger == nil {
			trouble = errNoLedger.Error() // known before any sync
		}
		if trouble == "" {
			continue
		}
		if h.Without++; h.Without == 1 {
			h.Err = fmt.Errorf("%s: %s", s.Name, trouble)
		}
	}
	return h
}
