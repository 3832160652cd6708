package stream

import (
	"testing"

	"drctl/internal/timeline"
	"drctl/targets"
)

// The archiver says what its log lacks without a listing of its own.
func TestTheArchiverKnowsItsHoles(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	bases := []targets.Artifact{{From: pos("L", 50)}}
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))

	if b, ok := timeline.NeedsBase(a.Timelines(), bases); ok {
		t.Fatalf("%v", b)
	}

	select {
	case <-a.Interrupted():
		t.Fatal("interrupted by its beginning")
	default:
	}

	must(t, a.Begin(ctx, "L", 300, targets.Position{}, nil))
	<-a.Interrupted()

	want := timeline.Break{Timeline: "L", Gap: timeline.Gap{From: 100, To: 300}}
	if b, ok := timeline.NeedsBase(a.Timelines(), bases); !ok || b != want {
		t.Fatalf("%v", b)
	}

	must(t, a.Write(ctx, 300, streamBytes("L", 300, 400)))
	must(t, a.Begin(ctx, "M", 400, pos("L", 400), nil))
	must(t, a.Close(ctx))

	b := start(t, Options{Set: set})
	if got, ok := timeline.NeedsBase(b.Timelines(), bases); !ok || got != want {
		t.Fatalf("after a resume: %v", got)
	}

	must(t, b.Begin(ctx, "X", 0, targets.Position{}, nil)) // another cluster
	<-b.Interrupted()

	if got, ok := timeline.NeedsBase(b.Timelines(), bases); !ok || got.Timeline != "X" {
		t.Fatalf("another log: %v", got)
	}
}
