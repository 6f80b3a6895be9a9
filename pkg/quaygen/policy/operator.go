package policy

import "strconv"

// Operator is what a client may do with robots, besides asking for pull secrets. Each level includes those before it.
type Operator int

// The levels.
const (
	OperatorNone   Operator = iota // nothing
	OperatorView                   // list, get and watch robots
	OperatorManage                 // rotate and retire them, too
)

// MayView reports whether o includes reading the state of robots.
func (o Operator) MayView() bool { return o == OperatorView || o == OperatorManage }

// MayManage reports whether o includes rotating and retiring robots.
func (o Operator) MayManage() bool { return o == OperatorManage }

func (o Operator) String() string {
	switch o {
	case OperatorNone:
		return "none"
	case OperatorView:
		return "view"
	case OperatorManage:
		return "manage"
	}
	return "Operator(" + strconv.Itoa(int(o)) + ")"
}
