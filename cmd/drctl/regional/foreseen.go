package regional

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/choosing"
	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/restore/choices"
	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/workflows/recovery"
)

// foreseen is what is known of a plan before it runs. It is found out beside everything else: a
// person is told before the question, and a run that nobody is asked about waits for nothing.
type foreseen struct {
	done chan struct{} // closed when the rest is there
	text bytes.Buffer
	// table has both ways of a failover; nil of other plans.
	table *choices.Table
}

// foresee begins.
func (f Faces) foresee(ctx context.Context, cfg *config.Config, r running, d plan.Definition) *foreseen {
	out := &foreseen{done: make(chan struct{})}

	go func() {
		defer close(out.done)

		both, past := make(chan *choices.Table, 1), make(chan []byte, 1)
		go func() { both <- r.both(ctx, cfg, d) }()
		go func() { past <- plans.Verification(ctx, cfg, d) }()

		var late <-chan time.Time // a switchover has the time
		if d.Mode == plan.ModeFailover {
			late = time.After(choices.Limit)
		}

		select {
		case text := <-past:
			out.text.Write(text)
		case <-late: // a file system that hangs heeds no deadline
			fmt.Fprintf(&out.text, "UNVERIFIED, as far as is known: the vaults have not told within %s\n", choices.Limit)
		}

		if out.table = <-both; out.table != nil {
			_ = choosing.Print(&out.text, *out.table) // a buffer takes all
		}
	}()

	return out
}

// both are both ways of a failover; nil of other plans.
func (r running) both(ctx context.Context, cfg *config.Config, d plan.Definition) *choices.Table {
	if d.Mode != plan.ModeFailover {
		return nil
	}
	t := choosing.Foresee(ctx, cfg, r.Both(cfg, d, r.hooked))

	return &t
}

// there reports whether it is all known by now.
func (x *foreseen) there() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// hooked is the policy with the program of --fence.
func (r running) hooked(p *failover.Policy) {
	if len(r.hook) > 0 {
		p.Fence, p.Hook = []string{plan.ByHook, plan.ByGuard, plan.ByStatement}, &plan.Exec{Command: r.hook}
	}
}

// print shows what is known, once: beside the answer where that is JSON.
func (f Faces) print(x *foreseen) {
	w := f.Out
	if *f.JSON {
		w = f.Err
	}

	_, _ = x.text.WriteTo(w)
}

// record has the run, and the vault of the region that takes over, know what was shown. It is called
// while the run goes on: nothing waits for it, and what cannot be kept is said.
func (f Faces) record(ctx context.Context, e Engine, in recovery.In, run client.WorkflowRun, x *foreseen) {
	<-x.done

	if in.Choices == nil {
		f.print(x)
	}

	if x.table == nil {
		return
	}

	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), choices.Limit)
	defer stop()

	var errs []error
	if in.Choices == nil {
		err := e.Client.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.Foreseen, x.table)

		var ended *serviceerror.NotFound
		if !errors.As(err, &ended) {
			errs = append(errs, err)
		}
	}

	v, err := e.Platform.Vault(ctx, in.To)
	if err == nil {
		err = choosing.Keep(ctx, v, in.Run, *x.table)
	}

	if err := errors.Join(append(errs, err)...); err != nil {
		f.Say(slog.LevelWarn, "what was foreseen is not kept with the run: %v", err)
	}
}
