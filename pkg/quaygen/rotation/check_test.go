package rotation

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// checkedSpec has nothing for Check to say about.
func checkedSpec() Spec {
	return Spec{
		Name: "puller", Instance: "prod-eu", Base: testBase, Strategy: Overlap,
		Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
		Sync: 30 * time.Second, Safety: DefaultSafety(),
	}
}

func TestTheDefaultsHaveNoProblem(t *testing.T) {
	if problems := checkedSpec().Check(); len(problems) > 0 {
		t.Error(problems)
	}
	none := checkedSpec()
	none.Strategy, none.Every, none.Safety = None, 0, Safety{}
	if problems := none.Check(); len(problems) > 0 {
		t.Errorf("times of a robot that is never rotated: %v", problems)
	}
}

// Each row breaks one inequality alone, and says so with the numbers at fault; what the message suggests mends it.
func TestEachInequalityIsToldWithItsNumbersAndAValueThatWouldDo(t *testing.T) {
	overlap := func(s *Spec) *time.Duration { return &s.Overlap }
	quiet := func(s *Spec) *time.Duration { return &s.Quiet }
	latest := func(s *Spec) *time.Duration { return &s.Max }
	every := func(s *Spec) *time.Duration { return &s.Every }
	settle := func(s *Spec) *time.Duration { return &s.Safety.Settle }
	for _, tt := range []struct {
		rule    string
		spoil   func(*Spec)
		field   string
		warning bool
		numbers string // in the message, in this order
		mend    func(*Spec) *time.Duration
		would   time.Duration
	}{
		{"I1: overlap holds refresh, sync, adopt and the allowances", func(s *Spec) { s.MaxRefresh, s.Overlap, s.Sync = 6*time.Hour, 6*time.Hour+15*time.Minute, time.Minute },
			"rotation.overlap", false, "6h15m0s 6h0m0s 1m0s 10m0s 1m0s 5m0s 6h17m0s", overlap, 6*time.Hour + 20*time.Minute},
		{"I2: memory outlasts three syncs, and so I1 with it", func(s *Spec) { s.Sync, s.Overlap = 10*time.Minute, 90*time.Minute },
			"rotation.overlap", false, "1h30m0s 24m0s 1h0m0s 1m0s 5m0s 30m0s", overlap, 100 * time.Minute},
		{"I2: memory should outlast an hour", func(s *Spec) { s.Overlap = 2 * time.Hour },
			"rotation.overlap", true, "2h0m0s 54m0s", overlap, 2*time.Hour + 10*time.Minute},
		{"I3: an hour to publish in", func(s *Spec) { s.Max, s.Quiet = s.Overlap+59*time.Minute, 67*time.Minute },
			"rotation.drain.max", false, "24h59m0s 59m0s 24h0m0s 1h0m0s 1h7m0s", latest, 25*time.Hour + 10*time.Minute},
		{"I3: ten syncs to publish in", func(s *Spec) { s.Sync, s.Max = 20*time.Minute, s.Overlap+3*time.Hour },
			"rotation.drain.max", false, "27h0m0s 3h0m0s 24h0m0s 3h20m0s", latest, 27*time.Hour + 20*time.Minute},
		{"I3: quiet fits between overlap and max", func(s *Spec) { s.Quiet = 150 * time.Hour },
			"rotation.drain.quiet", false, "150h0m0s 24h0m0s 168h0m0s 144h0m0s 174h0m0s", latest, 174 * time.Hour},
		{"I4: quiet outlasts what Quay does not show", func(s *Spec) { s.Quiet = time.Hour },
			"rotation.drain.quiet", false, "30s 5m0s 1h6m30s", quiet, 70 * time.Minute},
		{"I5: generations should not pile up", func(s *Spec) { s.Every = 100 * time.Hour },
			"rotation.every", true, "100h0m0s 168h0m0s 30s 1m0s 4", every, 169 * time.Hour},
		{"I5: a generation outlives the one before it", func(s *Spec) { s.Every = s.Overlap },
			"rotation.every", false, "24h0m0s 24h0m0s", nil, 0},
		{"I6: a quarter of overlap holds two syncs", func(s *Spec) { s.Sync, s.MaxRefresh, s.Overlap = 10*time.Minute, 10*time.Minute, 70*time.Minute },
			"rotation.overlap", false, "1h10m0s 10m0s", overlap, 80 * time.Minute},
		{"I7: settle outlasts the step deadline", func(s *Spec) { s.Safety.StepDeadline = time.Minute },
			"/safety.settle", false, "1m0s 1m0s 2m0s", settle, 2 * time.Minute},
		{"settle below the safe value", func(s *Spec) { s.Safety.Settle = 40 * time.Second },
			"/safety.settle", false, "40s 1m0s", settle, time.Minute},
		{"step deadline below the safe value", func(s *Spec) { s.Safety.StepDeadline = time.Second },
			"/safety.stepDeadline", false, "1s 30s", func(s *Spec) *time.Duration { return &s.Safety.StepDeadline }, 30 * time.Second},
		{"clock allowance below the safe value", func(s *Spec) { s.Safety.ClockAllowance = time.Minute },
			"/safety.clockAllowance", false, "1m0s 5m0s", func(s *Spec) *time.Duration { return &s.Safety.ClockAllowance }, 5 * time.Minute},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := checkedSpec()
			tt.spoil(&s)
			i := slices.IndexFunc(s.Check(), func(p Problem) bool {
				return p.Field == tt.field && p.Warning == tt.warning && holdsInOrder(p.Message, tt.numbers)
			})
			if i < 0 {
				t.Fatalf("%v; want %s with %s", s.Check(), tt.field, tt.numbers)
			}
			p := s.Check()[i]
			for _, p := range s.Check() {
				if !p.Warning && tt.warning || p.Field != tt.field {
					t.Errorf("more than it is broken: %s: %s", p.Field, p.Message)
				}
			}
			if tt.mend == nil {
				return
			}
			if !strings.Contains(p.Message, tt.would.String()) {
				t.Errorf("%q does not name %v", p.Message, tt.would)
			}
			*tt.mend(&s) = tt.would
			if left := slices.DeleteFunc(s.Check(), func(p Problem) bool { return p.Warning && !tt.warning }); len(left) > 0 {
				t.Errorf("with the %v that would do: %v", tt.would, left)
			}
		})
	}
}

// Whatever is wrong with overlap, the longest that is said to do does: adopt grows with it, up to a bound.
func TestTheOverlapThatWouldDoDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	would := regexp.MustCompile(`(\S+) would do\z`)
	mended := 0
	for range 20_000 {
		s := checkedSpec()
		s.Sync, s.MaxRefresh = time.Duration(1+rng.Int64N(int64(20*time.Minute))), time.Duration(1+rng.Int64N(int64(2*time.Hour)))
		s.Overlap = time.Duration(1 + rng.Int64N(int64(3*time.Hour)))
		before, longest := s.Overlap, time.Duration(0)
		for _, p := range s.Check() {
			if found := would.FindStringSubmatch(p.Message); found != nil && p.Field == "rotation.overlap" && !p.Warning {
				d, err := time.ParseDuration(found[1])
				if err != nil {
					t.Fatal(err)
				}
				longest = max(longest, d)
			}
		}
		if longest == 0 {
			continue
		}
		mended++
		s.Overlap = longest
		for _, p := range s.Check() {
			if p.Field == "rotation.overlap" && !p.Warning {
				t.Fatalf("instead of %v, %v would do, but: %s", before, longest, p.Message)
			}
		}
	}
	if mended < 1000 {
		t.Errorf("only %d specs had an overlap too short", mended)
	}
}

var durationRE = regexp.MustCompile(`\b(?:[0-9.]+(?:h|m|s|ms))+\b|\b[0-9]+\b`)

// holdsInOrder reports whether text holds all words, as words and in their order.
func holdsInOrder(text, words string) bool {
	found := durationRE.FindAllString(text, -1)
	for _, word := range strings.Fields(words) {
		i := slices.Index(found, word)
		if i < 0 {
			return false
		}
		found = found[i+1:]
	}
	return true
}

func TestTimesThatAreNotPositiveAreToldEachByItsField(t *testing.T) {
	for _, d := range []time.Duration{0, -time.Second} {
		s := checkedSpec()
		s.Every, s.Overlap, s.Quiet, s.Max, s.MaxRefresh, s.Sync = d, d, d, d, d, d
		s.Safety = Safety{Settle: d, StepDeadline: d, ClockAllowance: d, AllowUnsafeTiming: true}
		var fields []string
		for _, p := range s.Check() {
			fields = append(fields, p.Field)
		}
		slices.Sort(fields)
		want := []string{"/safety.clockAllowance", "/safety.settle", "/safety.stepDeadline", "/sync", "maxRefresh", "rotation.drain.max",
			"rotation.drain.quiet", "rotation.every", "rotation.overlap"}
		if !slices.Equal(fields, want) {
			t.Errorf("all %v: problems with %q", d, fields)
		}
	}
}

func TestUnsafeTimingLiftsOnlyWhatDependsOnTheWorldOutside(t *testing.T) {
	if problems := testSpec().Check(); slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning }) {
		t.Errorf("the times of these tests: %v", problems)
	}
	for name, spoil := range map[string]func(*Spec){
		"I1": func(s *Spec) { s.Overlap = 5 * time.Minute },
		"I2": func(s *Spec) { s.MaxRefresh = 4 * time.Minute },
		"I3": func(s *Spec) { s.Max = s.Overlap + time.Minute },
		"I5": func(s *Spec) { s.Every = s.Overlap },
		"I6": func(s *Spec) { s.Sync = time.Minute },
		"I7": func(s *Spec) { s.Safety.Settle = s.Safety.StepDeadline },
	} {
		s := testSpec()
		spoil(&s)
		if !slices.ContainsFunc(s.Check(), func(p Problem) bool { return !p.Warning }) {
			t.Errorf("%s does not hold, and unsafe timing hides it", name)
		}
	}
}

// What Check accepts keeps what rotation rests on, computed here from the rules and not from the code of Check.
func TestWhateverPassesTheCheckLeavesRoomForEveryRule(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(1 + rng.Int64N(int64(d))) }
	passed := 0
	for range 300_000 {
		s := checkedSpec()
		s.Sync, s.MaxRefresh = upTo(20*time.Minute), upTo(2*time.Hour)
		s.Overlap, s.Quiet = upTo(8*time.Hour), upTo(4*time.Hour)
		s.Max, s.Every = s.Overlap+upTo(8*time.Hour), upTo(40*time.Hour)
		s.Safety = Safety{Settle: upTo(4 * time.Minute), StepDeadline: upTo(2 * time.Minute), ClockAllowance: upTo(20 * time.Minute), AllowUnsafeTiming: rng.IntN(2) == 0}
		if slices.ContainsFunc(s.Check(), func(p Problem) bool { return !p.Warning }) {
			continue
		}
		passed++
		window, safe := s.Max-s.Overlap, !s.Safety.AllowUnsafeTiming
		servable := s.Overlap - s.MaxRefresh - s.Safety.Settle - s.Safety.ClockAllowance
		for rule, holds := range map[string]bool{
			"a consumer of the last replica to learn moves in time": s.Overlap >= s.MaxRefresh+s.Sync+s.Adopt()+s.Safety.Settle+s.Safety.ClockAllowance,
			"servable is at least three syncs":                      servable >= 3*s.Sync && s.timing().servable(s.Safety) == servable,
			"adopt is at most a quarter of overlap":                 s.Adopt() <= s.Overlap/4,
			"adopt is at least two syncs":                           s.Adopt() >= 2*s.Sync,
			"there are ten syncs to publish in":                     window >= 10*s.Sync && s.timing().window() == window,
			"there is an hour to publish in":                        window >= time.Hour || !safe,
			"quiet ends before max":                                 s.Quiet <= window,
			"quiet outlasts a token and Quay's threshold":           s.Quiet >= time.Hour+time.Minute+s.Sync+s.Safety.ClockAllowance || !safe,
			"settle outlasts the step deadline":                     s.Safety.Settle > s.Safety.StepDeadline,
			"the safe allowances are kept":                          s.Safety.Settle >= time.Minute && s.Safety.StepDeadline >= 30*time.Second && s.Safety.ClockAllowance >= 5*time.Minute || !safe,
			"a rotation is due after the overlap of the one before": s.Every > s.Overlap,
			"prune waits, and no longer than overlap where unsafe":  s.pruneAfter() > 0 && (s.pruneAfter() == 10*time.Minute || !safe && s.pruneAfter() == s.Overlap),
		} {
			if !holds {
				t.Fatalf("not so: %s, with %+v", rule, s)
			}
		}
		if s.maxLive() < 3 || time.Duration(s.maxLive()-2)*s.Every < s.Max {
			t.Fatalf("at most %d may live, with %+v", s.maxLive(), s)
		}
		if early := s.early(); early < 0 || early >= s.Every/10 {
			t.Fatalf("rotations come %v early, with %+v", early, s)
		}
	}
	if passed < 1000 {
		t.Errorf("only %d specs passed the check: too few to say anything", passed)
	}
}

// The longest names that pass can be made, with their number and their marker, and one letter more is told.
func TestNamesThatPassTheCheckFitQuaysLimits(t *testing.T) {
	const most = 255 // docs/quay-contract.md 2.1 and 2.2
	for _, instance := range []string{"a", "prod-eu", strings.Repeat("i", 63)} {
		for _, org := range []string{"acme", strings.Repeat("o", 200)} {
			longest := 0
			for length := 2; length+len(org)+1 <= most; length++ {
				s := checkedSpec()
				s.Instance, s.Base = instance, mustRobot(org, strings.Repeat("b", length))
				if len(s.Check()) > 0 {
					continue
				}
				if longest++; length != longest+1 {
					t.Fatalf("with an instance of %d and an organization of %d characters, a name of %d passes and a shorter one does not", len(instance), len(org), length)
				}
				mark := marker{Instance: s.Instance, Robot: s.Base.Short(), Generation: quay.MaxGeneration, Timing: s.timing()}
				if n := len(mark.String()); n > most {
					t.Fatalf("with an instance of %d characters, a name of %d passes and its marker has %d", len(instance), length, n)
				}
				if _, err := s.Base.Generation(quay.MaxGeneration); err != nil {
					t.Fatalf("a name of %d characters passes: %v", length, err)
				}
			}
			if longest < 30 {
				t.Errorf("with an instance of %d and an organization of %d characters, only %d lengths pass", len(instance), len(org), longest)
			}
		}
	}
}
