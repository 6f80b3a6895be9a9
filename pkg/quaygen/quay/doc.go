// Package quay speaks to a Quay registry as far as the life of robot accounts needs it: robots, repository
// permissions, teams, and the registry login that proves a robot's password.
//
// Names are validated once, where they enter ([ParseOrganization], [NewRobot], [NewRepository]); a [Client] takes
// nothing else, because Quay decodes %2F before routing and would let a name change the path it stands in.
//
// Every failed call returns an error that wraps an [*APIError] and matches one of the sentinels of this package with
// errors.Is. Quay's answers are less regular than its status codes suggest, and the classification rests on what was
// measured; docs/quay-contract.md says what, and comments cite it by section.
//
// No error and no log of this package holds a password, an API token or the body of a call.
package quay
