//go:build race

package rotation

// underRace: the model's searches are the same work in one goroutine each, ten times slower. A few states show all that the
// race detector could find in them.
const underRace = true
