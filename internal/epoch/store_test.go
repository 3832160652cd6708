package epoch

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// counted counts what a store is asked.
type counted struct {
	Store
	gets, lists, puts *atomic.Int64
}

func (c counted) Get(ctx context.Context, k string) (io.ReadCloser, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, k)
}

func (c counted) Put(ctx context.Context, k string, b []byte) error {
	c.puts.Add(1)
	return c.Store.Put(ctx, k, b)
}

func (c counted) List(ctx context.Context, p, after string) iter.Seq2[vault.Info, error] {
	c.lists.Add(1)
	return c.Store.List(ctx, p, after)
}

func seal(t *testing.T) Seal {
	t.Helper()

	k, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	s, err := NewSeal(k, "set-1")
	if err != nil {
		t.Fatal(err)
	}

	return s
}

// directories are three voters in directories.
func directories(t *testing.T) (dir string, voters []Voter) {
	t.Helper()
	dir = t.TempDir()

	for _, n := range []string{"east", "west", "witness"} {
		s, err := vault.OpenStore(t.Context(), vault.Location{URL: "file://" + filepath.Join(dir, n)})
		if err != nil {
			t.Fatal(err)
		}
		voters = append(voters, Voter{n, s})
	}

	return dir, voters
}

// later is how far the clock of these tests was moved: nothing here waits for a
// lease, and none ends because the machine is slow.
var later atomic.Int64

func clock() time.Duration { return Boot() + time.Duration(later.Load()) }

func open(t *testing.T, by string, c Codec, voters []Voter) *Log {
	t.Helper()

	l, err := Open(Config{Group: "shop", By: by, Codec: c, Voters: voters, Patience: time.Minute, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(l.Close)

	return l
}

func claim(t *testing.T, l *Log, holder string) *Tenure {
	t.Helper()

	x, err := l.Claim(t.Context(), Bid{Holder: holder, Lease: MaxLease})
	if err != nil {
		t.Fatal(err)
	}

	later.Add(int64(withMargin(MaxLease)))

	if err := x.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}

	return x
}

// inTurn has a group change hands: the guard of the first region says what it
// answers for, loses its lease to a claim, and joins no more.
func inTurn(t *testing.T, voters []Voter) {
	t.Helper()
	c := seal(t)
	a, b := open(t, "a", c, voters), open(t, "b", c, voters)

	if _, err := a.Join(t.Context(), "east", "host1"); !fail.Is(err, fail.NotFound) {
		t.Fatalf("join an empty sequence: %v", err)
	}

	claim(t, a, "east")

	g, err := a.Join(t.Context(), "east", "host1")
	if err != nil {
		t.Fatal(err)
	}

	g.Cover([]string{"orders/1@east"})

	if err := g.Renew(t.Context()); err != nil || !g.Live() {
		t.Fatalf("renew: %v, live %v", err, g.Live())
	}

	west := claim(t, b, "west")
	if g.Live() {
		t.Fatal("the one before is live still")
	}

	if gs := west.Guards(); len(gs) != 1 || !slices.Equal(gs[0].Instances, []string{"orders/1@east"}) || gs[0].Holder != "east" {
		t.Fatalf("guards: %+v", gs)
	}

	if err := g.Renew(t.Context()); !fail.Is(err, fail.Conflict) {
		t.Fatalf("renew in an epoch that has ended: %v", err)
	}

	_, err = a.Join(t.Context(), "east", "host1")
	if r, ok := Ahead(err); !ok || r.Epoch != 2 || r.Holder != "west" || !fail.Is(err, fail.Conflict) {
		t.Fatalf("join another's epoch: %v", err)
	}
}

func TestInTurnInDirectories(t *testing.T) {
	_, voters := directories(t)
	inTurn(t, voters)
}

func TestInTurnInBuckets(t *testing.T) {
	in := sandboxtest.S3(t, false)

	var voters []Voter
	for _, n := range []string{"east", "west", "witness"} {
		voters = append(voters, Voter{n, bucket(t, in, n)})
	}

	inTurn(t, voters)
}

func bucket(t *testing.T, in targets.Instance, prefix string) vault.Store {
	t.Helper()

	s, err := vault.OpenStore(t.Context(), vault.Location{
		URL: "s3://" + in.Database + "/" + prefix, Endpoint: in.Address, AccessKey: in.User, SecretKey: in.Password,
	})
	if err != nil {
		t.Fatal(err)
	}

	return s
}

func TestOfManyClaimsAtOnceOneWins(t *testing.T) {
	in := sandboxtest.S3(t, false)
	_, dirs := directories(t)
	voters := []Voter{dirs[0], {"bucket", bucket(t, in, "v")}, dirs[2]}
	c := seal(t)

	for range 5 {
		var all sync.WaitGroup

		var won atomic.Int64
		for _, r := range []string{"east", "west", "north", "south"} {
			l := open(t, r, c, voters)
			all.Go(func() {
				switch _, err := l.Claim(t.Context(), Bid{Holder: r, Lease: MaxLease}); {
				case err == nil:
					won.Add(1)
				case !fail.Is(err, fail.Conflict):
					t.Error(err)
				}
			})
		}

		all.Wait()

		st, err := open(t, "reader", c, voters).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		// Those who were late began with a higher number: each number has one winner at most.
		if won.Load() > int64(st.Present.Epoch) {
			t.Fatalf("%d claims have won, and the epoch is %d", won.Load(), st.Present.Epoch)
		}
	}
}

func TestAMajorityIsEnoughAndNeeded(t *testing.T) {
	dir, voters := directories(t)
	c := seal(t)
	east := claim(t, open(t, "a", c, voters), "east")

	away := func(n string) { // nobody can write or read there, root included
		if err := os.Rename(filepath.Join(dir, n), filepath.Join(dir, n+".away")); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	away("west")

	if err := east.Renew(t.Context()); err != nil {
		t.Fatalf("with one voter away: %v", err)
	}

	if _, err := open(t, "b", c, voters).Join(t.Context(), "east", ""); err != nil {
		t.Fatalf("join with one voter away: %v", err)
	}

	away("witness")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()

	if err := east.Renew(ctx); err == nil || fail.Is(err, fail.Conflict) {
		t.Fatalf("with two voters away: %v", err)
	}

	if _, err := open(t, "b", c, voters).Claim(ctx, Bid{Holder: "west", Lease: MaxLease}); err == nil || fail.Is(err, fail.Conflict) {
		t.Fatalf("claim with two voters away: %v", err)
	}
}

// Whoever can write to a store and does not hold the key can hold the group up, and no more.
func TestForgedRecordsAreSeen(t *testing.T) {
	plant := func(t *testing.T, change func(dir string, forger Seal)) error {
		t.Helper()
		dir, voters := directories(t)
		c := seal(t)
		claim(t, open(t, "a", c, voters), "east")

		forger := Seal{c.id, []byte("guessed")} // the recipient is public
		for _, n := range []string{"east", "west"} {
			change(filepath.Join(dir, n), forger)
		}

		_, err := open(t, "b", c, voters).Read(t.Context())

		return err
	}

	t.Run("without the key", func(t *testing.T) {
		err := plant(t, func(dir string, forger Seal) {
			k := key("shop", 9)
			r := Record{V: 1, Group: "shop", Kind: AClaim, Epoch: 9, Claim: "x", Holder: "west", Lease: Millis(MaxLease), Voters: []string{"a"}, Nonce: "n"}

			b, err := forger.Seal(k, r.encode())
			if err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, k)), 0o700), os.WriteFile(filepath.Join(dir, k), b, 0o600))
			}

			if err != nil {
				t.Fatal(err)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "holds the vault's key") {
			t.Fatalf("read: %v", err)
		}
	})
	t.Run("copied to another number", func(t *testing.T) {
		err := plant(t, func(dir string, _ Seal) {
			// Two of three hold it for certain.
			all, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", key("shop", 1)))
			if err != nil || len(all) < 2 {
				t.Fatal(all, err)
			}

			b, err := os.ReadFile(all[0])
			if err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, key("shop", 7))), 0o700), os.WriteFile(filepath.Join(dir, key("shop", 7)), b, 0o600))
			}

			if err != nil {
				t.Fatal(err)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "under this name") {
			t.Fatalf("read: %v", err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if err := plant(t, func(string, Seal) {}); err != nil {
			t.Fatalf("read: %v", err)
		}
	})
}

// However long a sequence is, it is listed once and then read from where it was.
func TestCostFollowsWhatIsNew(t *testing.T) {
	_, voters := directories(t)

	var gets, lists, puts atomic.Int64
	for i := range voters {
		voters[i].Store = counted{voters[i].Store, &gets, &lists, &puts}
	}
	c := seal(t)
	l := open(t, "a", c, voters)
	east := claim(t, l, "east")

	renew := func(n int64) {
		for range n {
			if err := east.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		l.beside.Wait() // the third voter
	}
	renew(20)
	reader := open(t, "b", c, voters)

	read := func() {
		if _, err := reader.Read(t.Context()); err != nil {
			t.Fatal(err)
		}

		reader.beside.Wait()
	}

	gets.Store(0)
	lists.Store(0)
	read()

	if lists.Load() != 3 || gets.Load() > 6 {
		t.Fatalf("the first read: %d listings, %d records", lists.Load(), gets.Load())
	}

	gets.Store(0)
	lists.Store(0)
	puts.Store(0)
	renew(5)
	read()

	if lists.Load() != 0 || gets.Load() != 3*(5+1) || puts.Load() != 3*5 {
		t.Fatalf("five renewals and a read: %d listings, %d reads, %d writes", lists.Load(), gets.Load(), puts.Load())
	}
}

func TestOldRecordsAreRemoved(t *testing.T) {
	dir, voters := directories(t)
	c := seal(t)
	l := open(t, "a", c, voters)

	east := claim(t, l, "east")
	for i := range 30 {
		if i%10 == 9 {
			later.Add(int64(prune))
		}

		if err := east.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}

		l.beside.Wait()
	}

	for _, v := range voters {
		left, err := os.ReadDir(filepath.Join(dir, v.Name, "epoch", "shop"))
		if err != nil || len(left) > 15 || len(left) < 5 {
			t.Fatalf("%s keeps %d records, %v", v.Name, len(left), err)
		}
	}

	if st, err := open(t, "b", c, voters).Read(t.Context()); err != nil || st.Present.Holder != "east" {
		t.Fatalf("read: %+v, %v", st.Present, err)
	}
}

// Voters are changed one at a time: a majority of both sets is needed.
func TestVotersChangeByAClaim(t *testing.T) {
	dir, voters := directories(t)
	c := seal(t)
	claim(t, open(t, "a", c, voters), "east")

	s, err := vault.OpenStore(t.Context(), vault.Location{URL: "file://" + filepath.Join(dir, "new")})
	if err != nil {
		t.Fatal(err)
	}
	changed := []Voter{voters[0], voters[1], {"new", s}}
	l := open(t, "b", c, changed)

	// The claim has won with two of three; the third may be writing it still.
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := l.Join(t.Context(), "east", "")
		if fail.Is(err, fail.Invalid) {
			break
		}

		if !fail.Is(err, fail.Unavailable) || time.Now().After(end) {
			t.Fatalf("join with other voters: %v", err)
		}
	}

	x := claim(t, l, "east")
	if x.Epoch().Epoch != 2 || !slices.Contains(x.Epoch().Voters, "new") {
		t.Fatalf("claimed: %+v", x.Epoch())
	}

	// Two that the sequence does not know outvote nobody.
	foreign := open(t, "c", c, []Voter{voters[0], {"x", bucketless(t)}, {"y", bucketless(t)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()

	if _, err := foreign.Claim(ctx, Bid{Holder: "west", Lease: MaxLease}); err == nil {
		t.Fatal("a claim with a minority of the voters before has won")
	}
}

func bucketless(t *testing.T) vault.Store {
	t.Helper()

	s, err := vault.OpenStore(t.Context(), vault.Location{URL: "file://" + t.TempDir() + "/s"})
	if err != nil {
		t.Fatal(err)
	}

	return s
}
