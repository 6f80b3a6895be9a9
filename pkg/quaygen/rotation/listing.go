package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// list takes the organization's list, with the tokens where that saves many single reads.
func (o *organization) list(ctx context.Context, client *quay.Client, chains []*chain) (Listing, error) {
	tokens := 0
	// Once a sync, so that a token that somebody replaced is noticed: one list shows all, and costs Quay what one without does.
	first := o.tokened != o.syncs
	for _, c := range chains {
		if c.memory.needsToken() {
			tokens++
		}
	}
	robots, answer, err := client.ListRobots(ctx, o.key.owner, quay.ListOptions{Token: first || tokens > 3, Permissions: true})
	o.tokened = o.syncs
	if errors.Is(err, quay.ErrForbidden) && !o.key.owner.IsUser() {
		// Quay refuses the list of an organization that does not exist (docs/quay-contract.md 1.4).
		if exists, lookErr := client.OrganizationExists(ctx, o.key.owner); lookErr == nil && !exists {
			return Listing{}, o.noOrganization()
		}
	}
	if err != nil {
		return Listing{}, fmt.Errorf("listing the robots of %s: %w", o.key.owner, err)
	}
	if answer.Date.IsZero() {
		return Listing{}, fmt.Errorf("listing the robots of %s: the answer has no Date, and only Quay's own time can be trusted", o.key.owner)
	}
	for _, r := range robots {
		if !r.HasPermissions {
			return Listing{}, fmt.Errorf("listing the robots of %s: permissions are not shown; the API token needs the scope org:admin of an administrator of %[1]s: %w", o.key.owner, quay.ErrForbidden)
		}
	}
	if len(robots) == 0 {
		// With full superuser access the robots of an organization that does not exist are an empty list.
		exists, err := client.OrganizationExists(ctx, o.key.owner)
		switch {
		case err != nil:
			return Listing{}, fmt.Errorf("looking for %s: %w", o.key.owner, err)
		case !exists:
			return Listing{}, o.noOrganization()
		}
	}
	return newListing(robots, answer), nil
}

func (o *organization) noOrganization() error {
	return fmt.Errorf("%s does not exist in Quay: %w", o.key.owner, quay.ErrNotFound)
}

// checkToken makes sure that the API token allows what will be needed, rather than finding out in the middle.
func (o *organization) checkToken(ctx context.Context, client *quay.Client) error {
	if o.checked > 0 && o.syncs-o.checked < rareSyncs {
		return nil
	}
	if err := client.CheckToken(ctx, o.key.owner); err != nil {
		return err // it says for whom the token was checked
	}
	o.checked = o.syncs
	return nil
}

// compareClocks stops creation and deletion while Quay's time and the time that passed here disagree, until two lists
// in a row agree again (rule 1).
func (o *organization) compareClocks(l Listing) {
	defer func() { o.at, o.sent = l.At, l.Sent }()
	if o.at.IsZero() {
		return
	}
	here, there := l.Sent.Sub(o.sent), l.At.Sub(o.at)
	drift := (there - here).Abs()
	// The Date header counts whole seconds, on both lists.
	if drift > o.common().Safety.ClockAllowance+2*time.Second {
		o.agreed = 0
		o.frozen = fmt.Sprintf("between two lists Quay's clock moved by %v while %v passed here", there, here.Round(time.Second))
		o.log.Error("nothing is created or deleted until the clocks agree again", "reason", o.frozen)
		return
	}
	if o.frozen == "" {
		return
	}
	if o.agreed++; o.agreed >= 2 {
		o.frozen = ""
		o.log.Info("the clocks agree again")
	}
}

// reportStrangers tells of robots that an earlier configuration left behind. Nobody but a person deletes them (rule 19).
func (o *organization) reportStrangers(l Listing, chains []*chain) {
	specs := make([]Spec, len(chains))
	for i, c := range chains {
		specs[i] = c.memory.spec
	}
	found := strangers(specs, l)
	if slices.Equal(found, o.strange) {
		return
	}
	o.strange = found
	for _, robot := range found {
		o.log.Warn("a robot of this instance belongs to no configured robot any more; it is left alone", "robot", robot.Username())
	}
}
