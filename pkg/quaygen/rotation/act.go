package rotation

// Act is something that an engine did, or saw to have happened, for an audit trail. It holds no secret.
type Act struct {
	Event Event // where Step says what was done it has no Type, and says with which robot

	// Step is what this process had Quay do, or wrote into the ledger; with RegenerateToken what it asked Quay to do, of which
	// a record in the ledger says whether it was done. No Action: the act is the event.
	Step Step
}

// acted tells of a step that was done.
func (o *organization) acted(m *Memory, s Step) {
	tell := o.engine.config.Acted
	if tell == nil {
		return
	}
	e := Event{Name: m.spec.Name, Registry: o.key.registry, Owner: o.key.owner, Generation: s.Generation, Robot: s.Robot.Username(), Reason: s.Why}
	o.mu.Lock()
	if c := o.chains[m.spec.Base]; c != nil {
		e.Namespace = c.whose()
	}
	o.mu.Unlock()
	tell(Act{Event: e, Step: s})
}
