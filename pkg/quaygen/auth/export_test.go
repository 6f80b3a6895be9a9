package auth

// Verdicts returns how many answers of the API server are kept, ended ones included.
func (r *Reviewer) Verdicts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.verdicts)
}

// MaxVerdicts bounds them.
const MaxVerdicts = maxVerdicts
