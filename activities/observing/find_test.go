package observing

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
)

// moded is a shop whose cuts are of some mode.
type moded struct {
	shop
	mode   targets.Modes
	accept string
}

func (m moded) Group(name string) (platform.Group, error) {
	g, err := m.shop.Group(name)
	g.Policy.Mode, g.Policy.Accept = m.mode, m.accept

	return g, err
}

// search asks for the observer as the workflow does, with what it said meanwhile. Asked is when
// it was first asked for.
func search(t *testing.T, a *Activities, in FindIn, asked time.Time) (queue string, said []string, err error) {
	t.Helper()

	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(2 * time.Minute)

	var mu sync.Mutex
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var b engine.Beat
		if err := details.Get(&b); err != nil {
			t.Error(err)
		}

		mu.Lock()
		defer mu.Unlock()

		said = append(said, b.Phase+" "+b.Detail)
	})
	env.RegisterActivityWithOptions(func(ctx context.Context, in FindIn) (string, error) {
		queue, err := a.find(ctx, in, asked)
		return queue, engine.EncodeError(err)
	},
		activity.RegisterOptions{Name: FindName})

	got, err := env.ExecuteActivity(FindName, in)
	if err == nil {
		err = got.Get(&queue)
	}

	mu.Lock()
	defer mu.Unlock()

	return queue, said, err
}

func TestFind(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "file://" + filepath.Join(sandboxtest.Dir(t), "v")}})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}}

	running := &watch.Running{}
	t.Cleanup(running.Stop)
	here := func(mode targets.Modes, accept string) *Activities {
		return &Activities{Platform: moded{shop{set: set}, mode, accept}, HostQueue: "q@here", Running: running, Log: slog.New(slog.DiscardHandler)}
	}
	observed := func(queue string, until time.Time) {
		t.Helper()

		b := observation.Batch{Group: "shop", Observer: observation.NewObserver().Name(), Queue: queue, Began: until.Add(-time.Second).UTC(), Ended: until.UTC()}
		if err := batches.Save(t.Context(), set, b); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-FindWithin)

	// Nobody ever has: it is said, and not tried again.
	_, _, err = search(t, here("auto", ""), FindIn{Group: "shop"}, longAgo)
	if !IsNobody(err) || !fail.Is(engine.DecodeError(err), fail.Unavailable) {
		t.Errorf("nobody: %v", err)
	}

	// Where there is another way to a cut it is not waited for as long, unless only the proven one counts.
	for accept, nobody := range map[string]bool{"": false, "proven": true} {
		queue, _, err := search(t, here("tagged+locks", accept), FindIn{Group: "shop"}, longAgo)
		if queue != "" || IsNobody(err) != nobody || err != nil && !nobody {
			t.Errorf("with locks, accept %q: %q, %v", accept, queue, err)
		}
	}

	if queue, said, err := search(t, here("locks", ""), FindIn{Group: "shop"}, time.Now()); queue != "" || err != nil || len(said) > 0 {
		t.Errorf("locks alone: %q, %q, %v", queue, said, err)
	}

	// The one of the process before this one died: another is waited for, and it is said since when.
	died := time.Now().Add(-2 * time.Second)
	observed("q@here", died)

	_, _, err = search(t, here("auto", ""), FindIn{Group: "shop"}, longAgo)
	if !IsNobody(err) || !strings.Contains(err.Error(), died.UTC().Format(time.TimeOnly)) {
		t.Errorf("of the process before: %v", err)
	}

	come := time.AfterFunc(1500*time.Millisecond, func() { observed("q@there", time.Now()) })
	defer come.Stop()

	queue, said, err := search(t, here("auto", ""), FindIn{Group: "shop"}, time.Now())
	if queue != "q@there" || err != nil || len(said) == 0 || !strings.Contains(said[0], died.UTC().Format(time.TimeOnly)) {
		t.Errorf("another sits: %q, %q, %v", queue, said, err)
	}

	// That one is not where it was found.
	_, _, err = search(t, here("auto", ""), FindIn{Group: "shop", Gone: time.Now()}, longAgo)
	if !IsNobody(err) {
		t.Errorf("found where it is gone: %v", err)
	}

	observed("q@there", time.Now())

	if queue, _, err := search(t, here("auto", ""), FindIn{Group: "shop", Gone: time.Now().Add(-time.Minute)}, longAgo); queue != "q@there" || err != nil {
		t.Errorf("it observes since: %q, %v", queue, err)
	}

	// One in this process.
	_, letGo := running.Hold(watch.Options{Group: "shop", Vaults: func(context.Context) (vault.Set, error) { return set, nil }})
	defer letGo(0)

	if queue, _, err := search(t, here("auto", ""), FindIn{Group: "shop"}, longAgo); queue != "q@here" || err != nil {
		t.Errorf("in this process: %q, %v", queue, err)
	}
}
