package quay_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

func TestNamesThatQuayWouldRefuseAreRefused(t *testing.T) {
	acme := organization(t, "acme")
	organizations := func(s string) error { _, err := quay.ParseOrganization(s); return err }
	users := func(s string) error { _, err := quay.ParseUser(s); return err }
	robots := func(s string) error { _, err := quay.NewRobot(acme, s); return err }
	repositories := func(s string) error { _, err := quay.NewRepository(acme, s); return err }
	for _, row := range []struct {
		what  string
		parse func(string) error
		name  string
		good  bool
	}{
		{"plain", organizations, "acme", true},
		{"digits and separators", organizations, "a1.b_c-d", true},
		{"longest", organizations, strings.Repeat("a", 255), true},
		{"too long", organizations, strings.Repeat("a", 256), false},
		{"too short", organizations, "a", false},
		{"empty", organizations, "", false},
		{"upper case", organizations, "Acme", false},
		{"robot's name", organizations, "acme+rob", false},
		{"doubled separator", organizations, "a__b", false},
		{"leading separator", organizations, "_ab", false},
		{"trailing separator", organizations, "ab-", false},
		{"not ASCII", organizations, "åbc", false},
		{"escaped slash", organizations, "acme%2Frobots", false},
		{"user", users, "alice", true},
		{"user with a space", users, "al ice", false},
		{"robot", robots, "ci_pull", true},
		{"robot with Quay's newline, docs/quay-contract.md 2.1", robots, "ci\n", false},
		{"robot with a slash", robots, "ci/regenerate", false},
		{"robot that climbs", robots, "..", false},
		{"longest robot of acme", robots, strings.Repeat("r", 250), true},
		{"robot too long for acme", robots, strings.Repeat("r", 251), false},
		{"repository", repositories, "app", true},
		{"repository of one letter", repositories, "a", true},
		{"repository in segments", repositories, "team/sub/app-2", true},
		{"repository with doubled separators", repositories, "a--b__c", true},
		{"repository that climbs", repositories, "a/../b", false},
		{"repository with an empty segment", repositories, "a//b", false},
		{"repository with a query", repositories, "a?b", false},
		{"repository in upper case", repositories, "App", false},
		{"repository too long", repositories, strings.Repeat("a", 256), false},
		{"empty repository", repositories, "", false},
	} {
		if err := row.parse(row.name); (err == nil) != row.good || err != nil && !errors.Is(err, quay.ErrName) {
			t.Errorf("%s %q: %v", row.what, row.name, err)
		}
	}
	if _, err := quay.NewRobot(quay.Owner{}, "ci"); !errors.Is(err, quay.ErrName) {
		t.Errorf("robot of nobody: %v", err)
	}
	if _, err := quay.NewRepository(quay.Owner{}, "app"); !errors.Is(err, quay.ErrName) {
		t.Errorf("repository of nobody: %v", err)
	}
}

func TestGenerationOfAcceptsNothingButItsOwnSpelling(t *testing.T) {
	base := robot(t, "acme", "ci")
	for _, row := range []struct {
		org, short string
		n          int64
		ok         bool
	}{
		{"acme", "ci_g0", 0, true},
		{"acme", "ci_g7850", 7850, true},
		{"acme", "ci_g999999999999", quay.MaxGeneration, true},
		{"acme", "ci_g1000000000000", 0, false},
		{"acme", "ci_g9223372036854775808", 0, false},
		{"acme", "ci_g01", 0, false},
		{"acme", "ci_g00", 0, false},
		{"acme", "ci_gx1", 0, false},
		{"acme", "ci_g1_g2", 0, false},
		{"acme", "ci2_g1", 0, false},
		{"acme", "xci_g1", 0, false},
		{"acme", "ci", 0, false},
		{"other", "ci_g1", 0, false},
	} {
		n, ok := robot(t, row.org, row.short).GenerationOf(base)
		if n != row.n || ok != row.ok {
			t.Errorf("%s+%s is generation %d, %v", row.org, row.short, n, ok)
		}
	}
	alice, err := quay.ParseUser("acme")
	if err != nil {
		t.Fatal(err)
	}
	ofUser, err := quay.NewRobot(alice, "ci_g1")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := ofUser.GenerationOf(base); ok {
		t.Error("a user's robot passed for an organization's")
	}
	for _, n := range []int64{-1, quay.MaxGeneration + 1} {
		if _, err := base.Generation(n); !errors.Is(err, quay.ErrName) {
			t.Errorf("generation %d: %v", n, err)
		}
	}
}

func TestGenerationMustFitQuaysColumn(t *testing.T) {
	base := robot(t, "acme", strings.Repeat("r", 247))
	if _, err := base.Generation(9); err != nil {
		t.Errorf("250 characters: %v", err)
	}
	if _, err := base.Generation(10); !errors.Is(err, quay.ErrName) {
		t.Errorf("251 characters: %v", err)
	}
}

// FuzzGenerationRoundTrip: every generation that can be made is read back as the same number, of its base alone.
func FuzzGenerationRoundTrip(f *testing.F) {
	f.Add("ci", "ci_g1", int64(0))
	f.Add("a-b", "a", int64(quay.MaxGeneration))
	f.Add("ci_g1", "ci", int64(12))
	f.Fuzz(func(t *testing.T, short, other string, n int64) {
		acme := organization(t, "acme")
		base, err := quay.NewRobot(acme, short)
		if err != nil {
			return
		}
		made, err := base.Generation(n)
		if err != nil {
			if n >= 0 && n <= quay.MaxGeneration && len(base.Username()) <= 255-len("_g999999999999") {
				t.Fatalf("generation %d of %q refused: %v", n, short, err)
			}
			return
		}
		if got, ok := made.GenerationOf(base); !ok || got != n {
			t.Fatalf("%s reads as %d, %v", made, got, ok)
		}
		if !quay.LooksLikeGeneration(made.Short()) {
			t.Fatalf("%s does not look like a generation", made)
		}
		stranger, err := quay.NewRobot(acme, other)
		if err != nil || stranger == base {
			return
		}
		if got, ok := made.GenerationOf(stranger); ok && !quay.LooksLikeGeneration(short) && !quay.LooksLikeGeneration(other) {
			t.Fatalf("%s is also generation %d of %s", made, got, stranger)
		}
	})
}

// FuzzGenerationOf: a name read as a generation is the name that generation makes.
func FuzzGenerationOf(f *testing.F) {
	for _, s := range []string{"ci_g0", "ci_g01", "ci_g+1", "ci_g-1", "ci_g1000000000000", "ci_g1_g2", "ci_g"} {
		f.Add(s, "ci")
	}
	f.Fuzz(func(t *testing.T, short, baseShort string) {
		acme := organization(t, "acme")
		r, err := quay.NewRobot(acme, short)
		if err != nil {
			return
		}
		base, err := quay.NewRobot(acme, baseShort)
		if err != nil {
			return
		}
		n, ok := r.GenerationOf(base)
		if !ok {
			return
		}
		made, err := base.Generation(n)
		if err != nil || made != r {
			t.Fatalf("%s reads as generation %d of %s, which is %s, %v", r, n, base, made, err)
		}
	})
}

func TestRolesAreOrderedAndReadBack(t *testing.T) {
	if !slices.IsSorted([]quay.Role{quay.RoleUnknown, quay.RoleRead, quay.RoleWrite, quay.RoleAdmin}) {
		t.Error("a higher role must include the lower")
	}
	for _, role := range []quay.Role{quay.RoleRead, quay.RoleWrite, quay.RoleAdmin} {
		if got, err := quay.ParseRole(role.String()); err != nil || got != role {
			t.Errorf("%v reads as %v, %v", role, got, err)
		}
	}
	for _, s := range []string{"", "unknown", "READ", "owner"} {
		if _, err := quay.ParseRole(s); !errors.Is(err, quay.ErrName) {
			t.Errorf("role %q: %v", s, err)
		}
	}
}
