package policy

// Knowledge is what there is to know of a namespace's labels.
type Knowledge int

// The sorts of knowledge. The zero value is the one with which no rule that wants labels ever permits anything.
const (
	NoLabels    Knowledge = iota // there are none to be known: no such namespace, or nobody to ask
	LabelsLater                  // they will be known; whoever asks now has to ask again
	LabelsKnown
)

// Labels are those of a namespace, as far as they are known.
type Labels struct {
	Knowledge Knowledge
	Values    map[string]string // of LabelsKnown; never changed
}

// have says whether all that is wanted is there, with these values.
func (l Labels) have(wanted map[string]string) Answer {
	switch l.Knowledge {
	case NoLabels:
		return No
	case LabelsLater:
		return NotKnown
	case LabelsKnown:
		for key, value := range wanted {
			if has, ok := l.Values[key]; !ok || has != value {
				return No
			}
		}
		return Yes
	}
	return No
}

// String says what is known, without the labels themselves: they can be many.
func (l Labels) String() string {
	switch l.Knowledge {
	case LabelsLater:
		return "its labels are not known yet"
	case LabelsKnown:
		return "its labels are known"
	case NoLabels:
	}
	return "it is not found in Kubernetes, or labels are not read from there"
}
