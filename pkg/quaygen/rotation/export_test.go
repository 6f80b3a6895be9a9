package rotation

// Kept is of how many namespaces the engine keeps something for a robot.
func Kept(e *Engine, name string) int {
	r, err := e.robot(name)
	if err != nil {
		return 0
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.namespaces)
}

// Beginning is a request for a namespace that has looked up the robot and goes on when the function is called, which reports
// whether it begins anything.
func Beginning(e *Engine, ref Ref) func() bool {
	r, err := e.robot(ref.Name)
	if err != nil {
		panic(err)
	}
	base, err := NamespaceRobot(r.assignment.Spec.Base, ref.Namespace)
	if err != nil {
		panic(err)
	}
	return func() bool { return r.organization.begin(ref.Name, base, ref.Namespace) != nil }
}
