package epoch

import (
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
)

// TestAClaimIsGoneOnWith: a claim of one number and name is one claim, whoever makes it
// again, and what the first process had to wait for is not forgotten.
func TestAClaimIsGoneOnWith(t *testing.T) {
	_, voters := directories(t)
	c := seal(t)
	claim(t, open(t, "a", c, voters), "east")
	bid := Bid{Holder: "west", Run: "r", Number: 7, Claim: "of r", Lease: MaxLease}

	killed := open(t, "killed", c, voters)
	if _, err := killed.Claim(t.Context(), bid); err != nil {
		t.Fatal(err)
	}

	killed.beside.Wait() // no voter is left that stands where the east's lease is known

	again, err := open(t, "b", c, voters).Claim(t.Context(), bid)
	if err != nil || again.Epoch().Epoch != 7 {
		t.Fatalf("claimed again: %v", err)
	}

	if g, err := open(t, "guard", c, voters).Join(t.Context(), "west", "host2"); err != nil || g.Live() {
		t.Fatalf("the lease of the east runs, and a guard of the west is live: %v", err)
	}

	for _, b := range []Bid{{Number: 7, Claim: "of another"}, {Number: 6, Claim: "of r"}, {Number: 8, Claim: "later", Behind: "1/x"}, {Number: 8, Claim: "same number", Behind: "7/x"}} {
		b.Holder, b.Lease = "east", MaxLease
		if _, err := open(t, "c", c, voters).Claim(t.Context(), b); !fail.Is(err, fail.Conflict) {
			t.Errorf("%+v: %v", b, err)
		}
	}

	later.Add(int64(withMargin(MaxLease)))

	if err := again.Wait(t.Context()); err != nil || again.Waited() < withMargin(MaxLease) {
		t.Fatalf("wait: %v", err)
	}
}

// TestTheFirstClaimWithoutAVoter: it is refused, but for who accepts what that may miss.
func TestTheFirstClaimWithoutAVoter(t *testing.T) {
	dir, voters := directories(t)
	if err := os.WriteFile(filepath.Join(dir, "east"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, "a", seal(t), voters)

	if _, err := l.Claim(t.Context(), Bid{Holder: "west", Lease: MaxLease}); !fail.Is(err, fail.Unavailable) {
		t.Fatalf("the first claim without a voter: %v", err)
	}

	if _, err := l.Claim(t.Context(), Bid{Holder: "west", Lease: MaxLease, First: true}); err != nil {
		t.Fatal(err)
	}
}

// TestBound: guards speak for the epoch in front of a claim, and for no other.
func TestBound(t *testing.T) {
	_, voters := directories(t)
	c := seal(t)
	claim(t, open(t, "a", c, voters), "east")

	g, err := open(t, "guard", c, voters).Join(t.Context(), "east", "host1")
	if err != nil {
		t.Fatal(err)
	}

	bound := func(holder string, number uint64) []Guard {
		t.Helper()

		x, err := open(t, "b", c, voters).Claim(t.Context(), Bid{Holder: holder, Number: number, Claim: "c", Lease: MaxLease})
		if err != nil {
			t.Fatal(err)
		}
		out := x.Bound("east")

		later.Add(int64(withMargin(MaxLease)))

		if err := x.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}

		return out
	}

	g.Cover([]string{"orders/1@east"})

	if err := g.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}

	for range 2 { // again is the same claim
		if got := bound("west", 2); len(got) != 1 || got[0].Name != "host1" {
			t.Errorf("the guard answered for its server: %+v", got)
		}
	}

	if got := bound("north", 3); len(got) > 0 {
		t.Errorf("since the west has claimed nobody watches in the east: %+v", got)
	}

	bound("east", 4)

	if got := bound("west", 5); len(got) > 0 {
		t.Errorf("the guard was there three epochs ago: %+v", got)
	}

	// Whoever comes back by a name answers for nothing before it says so.
	bound("east", 6)

	if _, err := open(t, "guard", c, voters).Join(t.Context(), "east", "host1"); err != nil {
		t.Fatal(err)
	}

	if got := bound("west", 7); len(got) > 0 {
		t.Errorf("the guard has joined and said nothing: %+v", got)
	}
}
