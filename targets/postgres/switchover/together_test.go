package switchover_test

import (
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/postmaster"
)

// Who was killed may have started the server a moment ago: two that start it at once both
// get the one that runs.
func TestStartedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))

	for range 5 {
		srv, err := postmaster.Find(p.a.DataDir)
		if err == nil {
			err = srv.Stop(p.context())
		}

		if err != nil {
			t.Fatal(err)
		}

		type started struct {
			postmaster.Server
			err error
		}
		both := make(chan started, 2)

		for range cap(both) {
			go func() {
				s, err := postmaster.Start(p.context(), p.a.DataDir)
				both <- started{s, err}
			}()
		}

		one, two := <-both, <-both
		if one.err != nil || two.err != nil || one.ID != two.ID {
			t.Fatalf("%+v, %v; %+v, %v", one.Server, one.err, two.Server, two.err)
		}
	}
}
