package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// A resolver works out what permissions come to in one organization as it is now. It keeps what it learned for as
// long as a call for it would be wasteful.
type resolver struct {
	owner quay.Owner
	syncs int

	robots map[string][]string // short name of each template → granted repositories, from the last list

	repositories []string // all of the organization's, sorted; only where a pattern needs them
	listed       int      // the sync in which they were listed; 0: never
	pages        int      // how many calls that took

	existing map[string]bool      // repositories looked up by name in this sync, or that some robot is granted
	unlisted map[string]bool      // repositories that are granted and in no list of them, looked up by name in this sync
	failed   map[string]error     // what could not be learned in this sync, by repository or template, so that a call that hangs is made once
	template map[string]*template // by the template's username

	accessKnown, noAccessTimes bool
	readOnly, disabled         bool
	looked                     int // the sync in which Quay's configuration was read; 0: never

	mu           sync.Mutex // guards what follows, which workers use
	noUserAdmin  bool       // the token cannot read a robot's grants in one call
	byRepository map[string]map[string]quay.Role
}

type template struct {
	grants map[string]quay.Role
	read   int
}

// theRepositories is the key in resolver.failed of their list, which none of their names can be.
const theRepositories = "*"

// perPage is how many repositories Quay lists in one call (docs/quay-contract.md 3.4).
const perPage = 100

func newResolver(owner quay.Owner) resolver {
	return resolver{owner: owner, template: map[string]*template{}}
}

// begin forgets what holds for one sync only.
func (r *resolver) begin(sync int) {
	if sync%rareSyncs == 0 {
		r.noUserAdmin = false // the token may have been given the scope
	}
	r.syncs, r.existing, r.unlisted, r.failed, r.byRepository = sync, map[string]bool{}, map[string]bool{}, map[string]error{}, map[string]map[string]quay.Role{}
}

// seen takes in what a list shows of the robots that serve as templates.
func (r *resolver) seen(split map[string][]quay.RobotInfo, chains []*chain) {
	r.robots = map[string][]string{}
	for _, c := range chains {
		from := c.memory.spec.Permissions.From
		if from.IsZero() {
			continue
		}
		for _, info := range split[from.Short()] {
			if info.Robot == from {
				r.robots[from.Short()] = slices.Sorted(slices.Values(info.Repositories))
			}
		}
	}
}

// look reads Quay's own configuration once a sync, which costs Quay next to nothing: whether it records last_accessed decides
// what lists can prove. It is a hint; without it the feature is taken as on, which is Quay's default.
func (r *resolver) look(ctx context.Context, client *quay.Client, log *slog.Logger) {
	if r.looked == r.syncs {
		return
	}
	capabilities, err := client.Capabilities(ctx)
	if err != nil {
		log.Debug("Quay's configuration could not be read", "error", err)
		return
	}
	r.looked = r.syncs
	r.readOnly, r.disabled = capabilities.ReadOnly, capabilities.RobotsDisallowed
	r.accessKnown = r.accessKnown || capabilities.Known
	if capabilities.Known && capabilities.LastAccessedOff != r.noAccessTimes {
		r.noAccessTimes = capabilities.LastAccessedOff
		log.Warn("whether Quay records when robots are used", "recorded", !r.noAccessTimes)
	}
}

// resolve works out what spec's permissions come to. own is the list's part about the chain: a repository that one of
// its robots has a grant on exists.
func (r *resolver) resolve(ctx context.Context, client *quay.Client, spec Spec, own Listing) Wanted {
	w := Wanted{Grants: map[string]quay.Role{}, Teams: spec.Permissions.Teams}
	add := func(repository string, role quay.Role) { w.Grants[repository] = max(w.Grants[repository], role) }
	for _, p := range spec.Permissions.Repositories {
		if glob.HasStar(p.Pattern) {
			names, err := r.all(ctx, client)
			if err != nil {
				w.Unknown = err.Error()
				return w
			}
			for _, name := range names {
				if glob.Match(p.Pattern, name) {
					add(name, p.Role)
				}
			}
			for _, info := range own.Robots {
				for _, name := range info.Repositories {
					if _, known := w.Grants[name]; !known && glob.Match(p.Pattern, name) && r.newer(ctx, client, name) {
						add(name, p.Role)
					}
				}
			}
			continue
		}
		exists, err := r.exists(ctx, client, own, p.Pattern)
		switch {
		case err != nil:
			w.Unknown = fmt.Sprintf("looking for repository %s: %v", p.Pattern, err)
			return w
		case exists:
			add(p.Pattern, p.Role)
		default:
			w.Missing = append(w.Missing, p.Pattern)
		}
	}
	if from := spec.Permissions.From; !from.IsZero() {
		grants, err := r.copied(ctx, client, from)
		if err != nil {
			w.Unknown = err.Error()
			return w
		}
		for repository, role := range grants {
			add(repository, role)
		}
	}
	return w
}

// all returns the organization's repositories. Listing takes a call for each hundred, so that it is repeated after as
// many syncs: about one call per sync, however many there are.
func (r *resolver) all(ctx context.Context, client *quay.Client) ([]string, error) {
	if r.listed > 0 && r.syncs-r.listed < r.pages {
		return r.repositories, nil
	}
	err := r.failed[theRepositories]
	if err == nil {
		var names []string
		if names, err = client.ListRepositories(ctx, r.owner); err == nil {
			slices.Sort(names)
			r.repositories, r.listed, r.pages = names, r.syncs, 1+len(names)/perPage
			return names, nil
		}
		r.failed[theRepositories] = err
	}
	if r.listed > 0 {
		return r.repositories, nil // those of earlier will do
	}
	return nil, fmt.Errorf("the repositories of %s cannot be listed: %w", r.owner.Name(), err)
}

func (r *resolver) exists(ctx context.Context, client *quay.Client, own Listing, name string) (bool, error) {
	if known, ok := r.existing[name]; ok {
		return known, nil
	}
	for _, info := range own.Robots {
		if slices.Contains(info.Repositories, name) {
			r.existing[name] = true
			return true, nil
		}
	}
	if err := r.failed[name]; err != nil {
		return false, err
	}
	repository, err := quay.NewRepository(r.owner, name)
	if err != nil {
		return false, err
	}
	known, err := client.RepositoryExists(ctx, repository)
	if err != nil {
		r.failed[name] = err
		return false, err
	}
	r.existing[name] = known
	return known, nil
}

// newer reports whether a repository that somebody was granted was made since they were listed. It may also be one that was
// deleted, and that Quay has not cleared away yet. If that cannot be learned it is taken to exist: nothing is taken away then.
func (r *resolver) newer(ctx context.Context, client *quay.Client, name string) bool {
	if exists, ok := r.unlisted[name]; ok {
		return exists
	}
	repository, err := quay.NewRepository(r.owner, name)
	if err != nil {
		return false
	}
	exists, err := client.RepositoryExists(ctx, repository)
	r.unlisted[name] = exists || err != nil
	return r.unlisted[name]
}

// copied returns the direct grants of a template robot, read again when the list shows that they changed, and now
// and then for their roles, which the list does not show.
func (r *resolver) copied(ctx context.Context, client *quay.Client, from quay.Robot) (map[string]quay.Role, error) {
	names, ok := r.robots[from.Short()]
	if !ok {
		return nil, fmt.Errorf("the robot %s, whose grants are to be copied, does not exist", from)
	}
	t := r.template[from.Username()]
	if t != nil && r.syncs-t.read < rareSyncs && slices.Equal(slices.Sorted(maps.Keys(t.grants)), names) {
		return t.grants, nil
	}
	if err := r.failed[from.Username()]; err != nil {
		return nil, err
	}
	grants, err := r.roles(ctx, client, from, names)
	if err != nil {
		err = fmt.Errorf("the grants of %s cannot be read: %w", from, err)
		r.failed[from.Username()] = err
		return nil, err
	}
	r.template[from.Username()] = &template{grants: grants, read: r.syncs}
	return grants, nil
}

// roles reads which roles a robot has: in one call, or where the token may not do that, by repository, once for all
// robots.
func (r *resolver) roles(ctx context.Context, client *quay.Client, robot quay.Robot, granted []string) (map[string]quay.Role, error) {
	r.mu.Lock()
	byRepository := r.noUserAdmin
	r.mu.Unlock()
	if !byRepository {
		grants, err := client.RobotGrants(ctx, robot)
		if !errors.Is(err, quay.ErrForbidden) {
			return grants, err
		}
		r.mu.Lock()
		r.noUserAdmin = true
		r.mu.Unlock()
	}
	out := map[string]quay.Role{}
	for _, name := range granted {
		grants, err := r.repositoryRoles(ctx, client, name)
		if err != nil {
			return nil, err
		}
		if role, ok := grants[robot.Username()]; ok {
			out[name] = role
		}
	}
	return out, nil
}

func (r *resolver) repositoryRoles(ctx context.Context, client *quay.Client, name string) (map[string]quay.Role, error) {
	r.mu.Lock()
	grants, ok := r.byRepository[name]
	r.mu.Unlock()
	if ok {
		return grants, nil
	}
	repository, err := quay.NewRepository(r.owner, name)
	if err != nil {
		return nil, err
	}
	grants, err = client.RepositoryGrants(ctx, repository)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.byRepository[name] = grants
	r.mu.Unlock()
	return grants, nil
}

// audit reads back the roles of one generation per sync, those not looked at for longest first: the list shows which
// repositories are granted, but not how far. It reports whether that showed something to do.
func (o *organization) audit(ctx context.Context, client *quay.Client, l Listing, chains []*chain) bool {
	var oldest *generation
	var of *chain
	for _, c := range chains {
		for _, g := range c.memory.ascending() {
			if !g.present || !g.published || !c.memory.eligible(g) || len(g.Grants) == 0 {
				continue
			}
			if oldest == nil || g.rolesRead.Before(oldest.rolesRead) {
				oldest, of = g, c
			}
		}
	}
	if oldest == nil || o.audited == o.syncs || elapsed(l.Sent) >= of.memory.spec.Safety.StepDeadline {
		return false
	}
	o.audited = o.syncs
	roles, err := o.resolver.roles(ctx, client, oldest.Robot, oldest.Grants)
	if err != nil {
		o.log.WarnContext(ctx, "roles could not be read back", "robot", oldest.Robot.Username(), "error", err)
		return false
	}
	of.memory.RolesRead(oldest.Number, roles)
	return len(of.memory.Plan().Steps) > 0
}
